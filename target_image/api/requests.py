"""What a client may ask of the agent. Unknown fields are refused: a typo must not be ignored.

What the agent answers has types of its own (responses); `echo` makes a request of an answer.

Sizes are bytes, times are RFC 3339 in UTC, ids are DNS-1123 labels (RFC 1123 section 2.1, 63 characters at most).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from target_image.api.fields import MAX_LUN, ChapName, ChapSecret, Digest, Id, ImageFormat, Iqn


class Request(BaseModel):
    """Unknown fields are refused: a typo must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(Request):
    """Who a volume or export belongs to. A sweep touches only what carries its own cluster and release."""

    cluster: str = Field(max_length=253, description="UID of the cluster's kube-system namespace.")
    release: str = Field(max_length=253, description="namespace/name of the Helm release.")
    namespace: str = Field(default="", max_length=63, description="The claim's namespace.")
    claim: str = Field(default="", max_length=253, description="The claim's name.")
    claim_uid: str = Field(default="", max_length=63)


class EmptySource(Request):
    """A volume of zeros."""

    type: Literal["none"] = "none"


class ImageSource(Request):
    """A volume that starts as a copy of an image of the catalogue or of /v1/images."""

    type: Literal["image"] = "image"
    image: Id


class VolumeSource(Request):
    """A volume that starts as a copy of another one on the same target."""

    type: Literal["volume"] = "volume"
    volume: Id
    allow_in_use: bool = Field(
        default=False, description="Copy even while the source has live sessions (crash-consistent)."
    )


Source = Annotated[EmptySource | ImageSource | VolumeSource, Field(discriminator="type")]


class VolumeSpec(Request):
    """`PUT /v1/volumes/{id}`. `size_bytes` is a minimum: a repeat of an older, smaller request is the same."""

    size_bytes: int = Field(gt=0, le=2**60, description="At least this many; rounded up to 1 MiB.")
    source: Source = EmptySource()
    owner: Owner | None = None
    thin: bool = Field(default=True, description="Sparse, with UNMAP; otherwise the space is allocated at once.")


class Lun(Request):
    """One LUN of an export."""

    lun: int = Field(ge=1, le=MAX_LUN)
    volume: Id
    read_only: bool = False


class Access(Request):
    """Who may log in. Both empty: anyone who has the credentials."""

    initiators: list[Iqn] = Field(default=[], description="Initiator names that may log in.")
    networks: list[str] = Field(
        default=[], description="Addresses or CIDR networks, without host bits, that may log in."
    )


class Chap(Request):
    """One-way CHAP, and mutual CHAP where the `mutual_` pair is given (RFC 7143 section 12.1)."""

    username: ChapName
    password: ChapSecret
    mutual_username: ChapName | None = None
    mutual_password: ChapSecret | None = None


class ExportSpec(Request):
    """`PUT /v1/exports/{id}`: an iSCSI target. Without `iqn`, one is derived from the id."""

    iqn: Iqn | None = None
    luns: list[Lun] = Field(min_length=1, max_length=255)
    access: Access = Access()
    chap: Chap | None = None
    owner: Owner | None = None


class ImageSpec(Request):
    """`PUT /v1/images/{name}`. A URL that ends in .gz or .xz is unpacked; the digest is of the bytes at the URL."""

    urls: list[str] = Field(min_length=1, max_length=16)
    digest: Digest
    format: ImageFormat = ImageFormat.RAW
    licence: str = ""
