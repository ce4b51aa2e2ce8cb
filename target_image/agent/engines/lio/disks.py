"""LIO's storage objects: what a LUN leads to."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lundock_common import process
from target_image.agent.engines import BackingLun
from target_image.agent.engines.lio.shape import PREFIX, Disk
from target_image.agent.naming import VENDOR_ID

UNMAP_MAX_BLOCKS = 2**22
"""2 GiB for one UNMAP; the kernel's default of 4 MiB makes a discard of a large file system take minutes."""
LOSETUP_TIMEOUT_S = 10.0


class Disks:
    """Ours among the storage objects. Errors are rtslib's own: the engine gives them their context."""

    def __init__(self, rtslib: Any, root: Any) -> None:
        self._rtslib = rtslib
        self._root = root

    def ensure(self, backing: BackingLun, disk: Disk) -> Any:
        """The storage object, made if it is not there; one that differs is replaced, and its LUNs go with it."""
        for storage in self._root.storage_objects:
            if storage.name == disk.name:
                if self.read_disk(storage) == disk:
                    return storage  # another target serves the same volume
                storage.delete()
        with _attach_block_device(backing) as device:
            if device is None:
                made = self._rtslib.FileIOStorageObject(
                    disk.name, str(backing.address.as_file()), backing.size_bytes, wwn=backing.serial, write_back=True
                )
                made.set_attribute("max_unmap_lba_count", UNMAP_MAX_BLOCKS)
            else:
                made = self._rtslib.BlockStorageObject(
                    disk.name, device, wwn=backing.serial, readonly=backing.read_only
                )
        if disk.thin:
            made.set_attribute("emulate_tpu", 1)
            made.set_attribute("emulate_tpws", 1)
        Path(made.path, "wwn", "vendor_id").write_text(VENDOR_ID)
        Path(made.path, "wwn", "product_id").write_text(disk.product_id)
        return made

    def read_disk(self, storage: Any) -> Disk:
        return Disk(
            name=storage.name,
            size_bytes=storage.size if storage.plugin == "fileio" else 0,
            product_id=Path(storage.path, "wwn", "product_id").read_text().strip(),
            thin=storage.get_attribute("emulate_tpu") == "1",
        )

    def sweep(self, names: set[str] | None = None) -> None:
        """Delete our storage objects that no LUN uses; only these, if names are given."""
        if names is not None and not names:
            return
        for storage in list(self._root.storage_objects):
            ours = storage.name.startswith(PREFIX) if names is None else storage.name in names
            if ours and storage.status != "activated":
                storage.delete()


@contextlib.contextmanager
def _attach_block_device(lun: BackingLun) -> Iterator[str | None]:
    """The block device for a LUN, which is attached for a read-only file; None for a file that is written.

    LIO's fileio knows no read-only, so a read-only file comes through a read-only loop device. Detaching it
    at once only marks it: the kernel frees it when the storage object that then holds it goes.
    """
    path = lun.address.as_file()
    if stat.S_ISBLK(path.stat().st_mode):
        yield str(path)
    elif lun.read_only:
        loop = process.run(
            ["losetup", "--find", "--show", "--read-only", str(path)], timeout_s=LOSETUP_TIMEOUT_S
        ).strip()
        try:
            yield loop
        finally:
            process.run(["losetup", "--detach", loop], timeout_s=LOSETUP_TIMEOUT_S)
    else:
        yield None
