"""What a target is in LIO's terms: derived from what is wanted, and comparable with what LIO shows."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from target_image.agent.engines import BackingLun, Credentials, TargetState
from target_image.agent.errors import EngineFailed, Invalid, NotSupported

PREFIX = "lundock-"
"""Begins the names of our storage objects."""


@dataclass(frozen=True)
class Disk:
    """What a storage object is. A difference in any of this means another one."""

    name: str
    size_bytes: int
    """0 for a block device, which knows its own size."""
    product_id: str
    thin: bool


@dataclass(frozen=True)
class Shape:
    """One target as LIO shows it, and as it must be."""

    disks: dict[int, Disk]
    mapped: dict[str, dict[int, bool]]
    """Initiator to LUN to read-only; empty where anyone may log in."""
    credentials: dict[str, Credentials | None]
    """By initiator; "" are those of the target itself, which count where anyone may log in."""
    authentication: bool
    open: bool

    @classmethod
    def of(cls, target: TargetState) -> Shape:
        credentials = dict.fromkeys(target.initiators, target.chap)
        return cls(
            disks={lun.lun: disk_of(target.iqn, lun) for lun in target.luns},
            mapped={initiator: {lun.lun: lun.read_only for lun in target.luns} for initiator in target.initiators},
            credentials={**credentials, "": None if target.initiators else target.chap},
            authentication=target.chap is not None,
            open=not target.initiators,
        )


def check(target: TargetState) -> None:
    """Refuse what LIO cannot do.

    Raises:
        Invalid: an iSCSI name has upper-case letters, a path has a comma, or a CHAP name or password begins with NULL.
        NotSupported: the target names networks, or a LUN is no file.
    """
    if target.networks:
        raise NotSupported(
            f"target {target.iqn} names networks, and LIO has no access list by network: name initiators, or use "
            "the host's firewall"
        )
    for name in (target.iqn, *target.initiators):
        if name != name.lower():
            raise Invalid(f"LIO keeps iSCSI names in lower case (RFC 7143 section 4.2.7.1): write {name.lower()}")
    for lun in target.luns:
        path = str(lun.address.as_file())
        if "," in path:
            raise Invalid(f"LIO cannot serve {path}: rename it, a path may hold no comma")
    chap = target.chap
    words = () if chap is None else (chap.username, chap.password, chap.mutual_username, chap.mutual_password)
    if any(word is not None and word.startswith("NULL") for word in words):
        raise Invalid("LIO takes a CHAP name or password that begins with NULL for none: choose another")


def disk_of(iqn: str, lun: BackingLun) -> Disk:
    """The storage object that a LUN needs.

    Its name holds the file's own identity, so that a file that was replaced, or another container's file of the
    same path, is never taken for the one that LIO holds open.

    Raises:
        EngineFailed: the file is missing, or cannot be reached.
    """
    try:
        status = lun.address.as_file().stat()
    except OSError as error:
        raise EngineFailed(
            f"LUN {lun.lun} of target {iqn} cannot be served: {lun.address}: {error.strerror}; bring the file back"
        ) from error
    block = stat.S_ISBLK(status.st_mode)
    device = f"{status.st_rdev:x}" if block else f"{status.st_dev:x}-{status.st_ino:x}"
    by_file = not block and not lun.read_only
    return Disk(
        name=f"{PREFIX}{lun.serial}-{device}{'-ro' if lun.read_only else ''}",
        size_bytes=lun.size_bytes if by_file else 0,
        product_id=lun.product_id,
        thin=lun.thin and not lun.read_only and (by_file or _can_discard(status.st_rdev)),
    )


def _can_discard(device: int) -> bool:
    """Whether the block device can discard: LIO refuses UNMAP on one that cannot."""
    folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    limits = [f for f in (folder / "queue", folder.parent / "queue") if f.is_dir()]  # a partition has its disk's
    return bool(limits) and int((limits[0] / "discard_max_bytes").read_text()) > 0
