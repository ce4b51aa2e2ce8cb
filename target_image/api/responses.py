"""What the agent answers. A password is never given back.

Sizes are bytes, times are RFC 3339 in UTC. These types import nothing from `requests`: a request is refused for what it
does not know, an answer is read in spite of it, since the agent may be newer than its reader. So unknown fields are
ignored, ids and names are not checked again, and a value that this version does not know never makes an answer
unreadable: a phase becomes Phase.UNKNOWN, a source becomes an OtherSource, and other words are plain text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from target_image.api.fields import Phase


class Answer(BaseModel):
    """Unknown fields are ignored: they come from a newer agent."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Owner(Answer):
    """Who a volume or export belongs to, as it was asked for."""

    cluster: str
    release: str
    namespace: str = ""
    claim: str = ""
    claim_uid: str = ""


class EmptySource(Answer):
    """The volume began as zeros."""

    type: Literal["none"] = "none"


class ImageSource(Answer):
    """The volume began as a copy of an image."""

    type: Literal["image"] = "image"
    image: str


class VolumeSource(Answer):
    """The volume began as a copy of another one."""

    type: Literal["volume"] = "volume"
    volume: str
    allow_in_use: bool = False


class OtherSource(Answer):
    """A kind of source that this version does not know: the agent is newer."""

    type: str


Source = Annotated[EmptySource | ImageSource | VolumeSource | OtherSource, Field(union_mode="left_to_right")]


class Lun(Answer):
    """One LUN of an export."""

    lun: int
    volume: str
    read_only: bool = False


class Access(Answer):
    """Who may log in. Both empty: anyone who has the credentials."""

    initiators: list[str] = []
    networks: list[str] = []


class ImageSpec(Answer):
    """Where an image comes from, as it was asked for."""

    urls: list[str]
    digest: str
    format: str
    licence: str = ""


class Condition(Answer):
    """Why something is not simply ready: a stable code, and a sentence that says what to do."""

    code: str
    detail: str


class Volume(Answer):
    """A volume as it is."""

    id: str
    size_bytes: int
    allocated_bytes: int = Field(description="Space it takes in the store at this moment.")
    source: Source
    owner: Owner | None
    thin: bool
    phase: Phase
    condition: Condition | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    stand_in: bool = Field(default=False, description="Holds the demo disk, because its image could not be fetched.")
    exports: list[str] = []
    created_at: datetime
    trashed_at: datetime | None = Field(default=None, description="Since when it waits in the trash, if it does.")


class ChapState(Answer):
    """What an answer says of CHAP: never a password."""

    username: str
    mutual_username: str | None = None


class Export(Answer):
    """An export as it is."""

    id: str
    iqn: str
    luns: list[Lun]
    access: Access
    chap: ChapState | None
    owner: Owner | None
    shard: int = Field(description="Which tgtd process serves it; for life.")
    portals: list[str] = Field(description="host:port, IPv6 in brackets, as the container sees itself.")
    phase: Phase
    condition: Condition | None = None
    sessions: int = Field(default=0, description="Live sessions.")


class Session(Answer):
    """One live iSCSI session (I_T nexus)."""

    export: str
    iqn: str
    session: int = Field(description="The engine's number, for DELETE /v1/sessions/{export}/{session}.")
    initiator: str
    addresses: list[str]


class Image(Answer):
    """An image and how far it is."""

    name: str
    spec: ImageSpec | None = Field(description="None for an image that is part of the container.")
    phase: Phase
    condition: Condition | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    virtual_size_bytes: int = 0
    stand_in: bool = Field(
        default=False, description="The demo disk stands in, because the image could not be fetched."
    )


class Capabilities(Answer):
    """What this target can do; a request beyond it is 422 with the reason."""

    api_version: str = "v1"
    version: str
    engine: str
    grow: str = Field(description="`online`, or `detached`: a volume grows only while no session lives.")
    mutual_chap: bool
    access_by_initiator: bool
    access_by_network: bool
    access_by_both: bool
    clone: str = Field(description="`reflink` copies in constant time; `sparse-copy` copies what is not a hole.")
    unmap: bool
    shards: int


class Capacity(Answer):
    """The space of a target: what there is, what is promised, what may still be promised."""

    total_bytes: int = Field(description="Of the file system that holds the volumes.")
    free_bytes: int
    promised_bytes: int = Field(description="The sum of the volumes' sizes.")
    available_bytes: int = Field(description="The largest volume that would be promised now.")
    overcommit_ratio: float


class VolumeList(Answer):
    """Every volume."""

    items: list[Volume]


class ExportList(Answer):
    """Every export."""

    items: list[Export]


class ImageList(Answer):
    """Every image."""

    items: list[Image]


class SessionList(Answer):
    """Every live session."""

    items: list[Session]
