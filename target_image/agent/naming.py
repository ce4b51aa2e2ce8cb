"""From an id to the names that initiators see. Pure: the same id has the same names on every machine.

A volume's id stands for one disk wherever it is served, so its SCSI identity is a hash of the id alone:
it survives restarts, another engine, and a restore on another machine.
"""

from __future__ import annotations

import hashlib

VENDOR_ID = "LUNDOCK"
"""SPC-4 6.6.2: T10 vendor identification, at most 8 ASCII characters."""

PRODUCT_ID = "VOLUME"
STAND_IN_PRODUCT_ID = "STAND-IN"
"""The product id of a LUN that holds the demo disk because its own image could not be fetched."""

MAX_TID = 2**31 - 1
"""tgt keeps target ids in a signed 32-bit integer (struct tgtadm_req)."""


def iqn(prefix: str, export_id: str) -> str:
    """The IQN of an export that was given none (RFC 7143 section 4.2.7.4)."""
    return f"{prefix}:{export_id}"


def serial(volume_id: str) -> str:
    """Unit serial number, VPD page 0x80: 32 hex digits."""
    return _digest(volume_id)[:32]


def wwn(volume_id: str) -> str:
    """16 hex digits for the designators of VPD page 0x83."""
    return _digest(volume_id)[32:48]


def _digest(volume_id: str) -> str:
    return hashlib.sha256(f"lundock volume {volume_id}".encode()).hexdigest()
