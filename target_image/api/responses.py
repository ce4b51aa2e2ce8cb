"""What the agent answers. A password is never given back.

Sizes are bytes, times are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from target_image.api.fields import Id, Iqn, Phase
from target_image.api.requests import Access, ImageSpec, Lun, Model, Owner, Source


class Condition(Model):
    """Why something is not simply ready: a stable code, and a sentence that says what to do."""

    code: str
    detail: str


class Volume(Model):
    """A volume as it is."""

    id: Id
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
    exports: list[Id] = Field(default=[])
    created_at: datetime
    trashed_at: datetime | None = Field(default=None, description="Since when it waits in the trash, if it does.")


class ChapState(Model):
    """What is told of CHAP: never a password."""

    username: str
    mutual_username: str | None = None


class Export(Model):
    id: Id
    iqn: Iqn
    luns: list[Lun]
    access: Access
    chap: ChapState | None
    owner: Owner | None
    shard: int = Field(description="Which tgtd process serves it; for life.")
    portals: list[str] = Field(description="host:port, IPv6 in brackets, as the container sees itself.")
    phase: Phase
    condition: Condition | None = None
    sessions: int = Field(default=0, description="Live sessions.")


class Session(Model):
    """One live iSCSI session (I_T nexus)."""

    export: Id
    iqn: Iqn
    session: int = Field(description="The engine's number, for DELETE /v1/sessions/{export}/{session}.")
    initiator: str
    addresses: list[str]


class Image(Model):
    name: Id
    spec: ImageSpec | None = Field(description="None for an image that is part of the container.")
    phase: Phase
    condition: Condition | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    virtual_size_bytes: int = 0
    stand_in: bool = Field(
        default=False, description="The demo disk stands in, because the image could not be fetched."
    )


class Capabilities(Model):
    """What this target can do; a request beyond it is 422 with the reason."""

    api_version: Literal["v1"] = "v1"
    version: str
    engine: str
    grow: Literal["online", "detached"]
    mutual_chap: bool
    access_by_initiator: bool
    access_by_network: bool
    access_by_both: bool
    clone: Literal["reflink", "sparse-copy"]
    unmap: bool
    shards: int


class Capacity(Model):
    total_bytes: int = Field(description="Of the file system that holds the volumes.")
    free_bytes: int
    promised_bytes: int = Field(description="The sum of the volumes' sizes.")
    available_bytes: int = Field(description="The largest volume that would be promised now.")
    overcommit_ratio: float


class VolumeList(Model):
    items: list[Volume]


class ExportList(Model):
    items: list[Export]


class ImageList(Model):
    items: list[Image]


class SessionList(Model):
    items: list[Session]
