"""The agent's HTTP API as pydantic models: what goes over the wire, and nothing else.

Shared by the agent (`http.py`), by `target_image.api.client` and through it by the provisioner. This module
imports nothing of ours, so that a client never drags the agent in.

Conventions: sizes are bytes, times are RFC 3339 in UTC, ids are DNS-1123 labels (RFC 1123 section 2.1,
63 characters at most). A password is accepted and never given back.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A DNS-1123 label: what Kubernetes names are made of."""

Iqn = Annotated[str, StringConstraints(pattern=r"^iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[A-Za-z0-9:.-]+)?$", max_length=223)]
"""An iSCSI qualified name (RFC 7143 section 4.2.7.4), without the underscore that tgt refuses."""

ChapName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@._:-]{1,223}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]


def _printable(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("may hold printable ASCII only")  # without the input: it is a secret
    return secret


ChapSecret = Annotated[
    SecretStr,
    Field(min_length=12, max_length=255, json_schema_extra={"pattern": "^[ -~]{12,255}$"}),
    AfterValidator(_printable),
]
"""A CHAP password (RFC 7143 section 9.2.1). tgt would end it at a NUL, and cut off what is longer than 255 bytes."""

MAX_LUN = 16383
"""REPORT LUNS answers with 14 bits (SAM-5, flat addressing); LUN 0 is tgt's controller."""


class Model(BaseModel):
    """Unknown fields are refused: a typo must not be ignored in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- owners --------------------------------------------------------------------------------------------


class Owner(Model):
    """Who a volume or export belongs to. A sweep touches only what carries its own cluster and release."""

    cluster: str = Field(max_length=253, description="UID of the cluster's kube-system namespace.")
    release: str = Field(max_length=253, description="namespace/name of the Helm release.")
    namespace: str = Field(default="", max_length=63, description="The claim's namespace.")
    claim: str = Field(default="", max_length=253, description="The claim's name.")
    claim_uid: str = Field(default="", max_length=63)


# -- volumes -------------------------------------------------------------------------------------------


class EmptySource(Model):
    """A volume of zeros."""

    type: Literal["none"] = "none"


class ImageSource(Model):
    """A volume that starts as a copy of an image of the catalogue or of /v1/images."""

    type: Literal["image"] = "image"
    image: Id


class VolumeSource(Model):
    """A volume that starts as a copy of another one on the same target."""

    type: Literal["volume"] = "volume"
    volume: Id
    allow_in_use: bool = Field(
        default=False, description="Copy even while the source has live sessions (crash-consistent)."
    )


Source = Annotated[EmptySource | ImageSource | VolumeSource, Field(discriminator="type")]


class Phase(StrEnum):
    """Where a volume, an export or an image is in its life."""

    PENDING = "pending"
    WORKING = "working"
    READY = "ready"
    FAILED = "failed"
    OFFLINE = "offline"
    DELETING = "deleting"


class Condition(Model):
    """Why something is not simply ready: a stable code, and a sentence that says what to do."""

    code: str
    detail: str


class VolumeSpec(Model):
    """`PUT /v1/volumes/{id}`. `size_bytes` is a minimum: a repeat of an older, smaller request is the same."""

    size_bytes: int = Field(gt=0, le=2**60, description="At least this many; rounded up to 1 MiB.")
    source: Source = EmptySource()
    owner: Owner | None = None
    thin: bool = Field(default=True, description="Sparse, with UNMAP; otherwise the space is allocated at once.")


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
    exports: list[Id] = []
    created_at: datetime
    trashed_at: datetime | None = Field(default=None, description="Since when it waits in the trash, if it does.")


# -- exports -------------------------------------------------------------------------------------------


class Lun(Model):
    lun: int = Field(ge=1, le=MAX_LUN)
    volume: Id
    read_only: bool = False


class Access(Model):
    """Who may log in. Both empty: anyone who has the credentials."""

    initiators: list[Iqn] = Field(default=[], description="Initiator names that may log in.")
    networks: list[str] = Field(
        default=[], description="Addresses or CIDR networks, without host bits, that may log in."
    )


class Chap(Model):
    """One-way CHAP, and mutual CHAP where the `mutual_` pair is given (RFC 7143 section 12.1)."""

    username: ChapName
    password: ChapSecret
    mutual_username: ChapName | None = None
    mutual_password: ChapSecret | None = None


class ChapState(Model):
    """What is told of CHAP: never a password."""

    username: str
    mutual_username: str | None = None


class ExportSpec(Model):
    """`PUT /v1/exports/{id}`: an iSCSI target. Without `iqn`, one is derived from the id."""

    iqn: Iqn | None = None
    luns: list[Lun] = Field(min_length=1, max_length=255)
    access: Access = Access()
    chap: Chap | None = None
    owner: Owner | None = None


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


# -- images --------------------------------------------------------------------------------------------


class ImageFormat(StrEnum):
    RAW = "raw"
    QCOW2 = "qcow2"
    ISO = "iso"


class ImageSpec(Model):
    """`PUT /v1/images/{name}`. A URL that ends in .gz or .xz is unpacked; the digest is of the bytes at the URL."""

    urls: list[str] = Field(min_length=1, max_length=16)
    digest: Digest
    format: ImageFormat = ImageFormat.RAW
    licence: str = ""


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


# -- the target itself ---------------------------------------------------------------------------------


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


class Problem(BaseModel):
    """RFC 9457, application/problem+json."""

    type: str = Field(description="https://lundock.io/problems/<code>")
    title: str
    status: int
    detail: str
    instance: str = ""
    code: str
    retryable: bool
    sessions: list[Session] = []
    errors: list[str] = []


class VolumeList(Model):
    items: list[Volume]


class ExportList(Model):
    items: list[Export]


class ImageList(Model):
    items: list[Image]


class SessionList(Model):
    items: list[Session]
