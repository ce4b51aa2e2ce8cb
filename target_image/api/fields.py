"""Types of single fields that requests and responses share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from lundock_common.names import DNS_LABEL, IQN

Id = Annotated[str, StringConstraints(pattern=DNS_LABEL)]
Iqn = Annotated[str, StringConstraints(pattern=IQN, max_length=223)]
"""At most 223 bytes (RFC 7143 section 4.2.7)."""

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


class Phase(StrEnum):
    """Where a volume, an export or an image is in its life. A word of a newer agent is read as UNKNOWN."""

    PENDING = "pending"
    WORKING = "working"
    READY = "ready"
    FAILED = "failed"
    OFFLINE = "offline"
    DELETING = "deleting"
    UNKNOWN = "unknown"
    """Never answered. It is neither ready nor failed, so that whoever waits for one of these goes on waiting."""

    @classmethod
    def _missing_(cls, value: object) -> Phase | None:
        return cls.UNKNOWN if isinstance(value, str) else None


class ImageFormat(StrEnum):
    """The formats of an image's file that a request may name."""

    RAW = "raw"
    QCOW2 = "qcow2"
    ISO = "iso"
