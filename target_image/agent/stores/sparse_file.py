"""Volumes as sparse files in one folder of a file system.

Layout: volumes/<id>.raw, volumes/<id>.part while it is made, trash/<id>.raw. A file gets its final name
by rename(2) after fsync(2), so what has the name is complete.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal, Self

from target_image.agent.backing import Address
from target_image.agent.durable import sync
from target_image.agent.errors import NoSpace, StoreFailed
from target_image.agent.settings import Settings
from target_image.agent.stores import Fault, Space, copying, files

ALLOCATED_TTL_S = 5.0
"""Adding up what all files take costs a stat each, so the sum is kept this long."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class SparseFileStore:
    """See stores.Store. Makes its folders, and finds out whether the file system can share blocks."""

    name = "sparse-file"
    clone: Literal["reflink", "sparse-copy"]

    def __init__(self, data_dir: Path, *, allocated_ttl_s: float = ALLOCATED_TTL_S) -> None:
        self._allocated_ttl_s = allocated_ttl_s
        self._added_up_bytes = 0
        self._added_up_at_s = float("-inf")
        self._volumes = data_dir / "volumes"
        self.location = str(self._volumes)
        self._trash = data_dir / "trash"
        for folder in (self._volumes, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        self.clone = "reflink" if self._can_reflink() else "sparse-copy"

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        return cls(settings.data_dir)

    def address(self, id: str) -> Address:
        return Address.of_file(self._path(id))

    def find(self, id: str) -> Address | None:
        paths = (self._path(id), self._trash_path(id))
        return next((Address.of_file(path) for path in paths if path.exists()), None)

    def ids(self) -> list[str]:
        return sorted(path.stem for path in self._volumes.glob("*.raw"))

    def create(self, id: str, size_bytes: int, *, thin: bool) -> None:
        if self._path(id).exists():
            return
        with self._new_file(id) as target:
            _set_size(target, size_bytes, thin=thin)

    def fill(self, id: str, source: Address, size_bytes: int, *, thin: bool, progress: Callable[[int], None]) -> None:
        if self._path(id).exists():
            return
        with self._new_file(id) as target:
            origin = os.open(source.as_file(), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not copying.reflink(origin, target):
                    copying.copy_data(origin, target, progress)
                progress(os.fstat(origin).st_size)
            finally:
                os.close(origin)
            _set_size(target, max(size_bytes, os.fstat(target).st_size), thin=thin)

    def copy_bytes(self, source: Address) -> int:
        with _errors_explained(f"look at {source}"):
            return 0 if self.clone == "reflink" else files.allocated_bytes(source.as_file())

    def grow(self, id: str, size_bytes: int, *, thin: bool) -> None:
        with _errors_explained(f"grow volume {id} to {size_bytes} bytes"):
            file = os.open(self._path(id), os.O_RDWR | os.O_CLOEXEC)
            try:
                if os.fstat(file).st_size < size_bytes:
                    _set_size(file, size_bytes, thin=thin)
                    os.fsync(file)
            finally:
                os.close(file)

    def remove(self, id: str) -> None:
        with _errors_explained(f"delete volume {id}"):
            for path in (self._part(id), self._path(id), self._trash_path(id)):
                path.unlink(missing_ok=True)
            sync(self._volumes)

    def trash(self, id: str) -> None:
        self._move(self._path(id), self._trash_path(id))

    def is_trashed(self, id: str) -> bool:
        return (self._trash_path(id)).exists()

    def restore(self, id: str) -> None:
        self._move(self._trash_path(id), self._path(id))

    def allocated_bytes(self, id: str) -> int:
        found = self._stat(id)
        return 0 if found is None else found.st_blocks * 512

    def space(self) -> Space:
        with _errors_explained(f"look at the free space of {self._volumes}"):
            found = os.statvfs(self._volumes)
        return Space(
            total_bytes=found.f_blocks * found.f_frsize,
            free_bytes=found.f_bavail * found.f_frsize,
            allocated_bytes=self._all_allocated_bytes(),
        )

    def fault(self, address: Address, size_bytes: int, *, writable: bool) -> Fault | None:
        return files.find_fault(address.as_file(), size_bytes, writable=writable)

    def identity(self, address: Address) -> str | None:
        return files.identity(address.as_file())

    def _all_allocated_bytes(self) -> int:
        if time.monotonic() - self._added_up_at_s > self._allocated_ttl_s:
            blocks = 0
            for folder in (self._volumes, self._trash):
                with _errors_explained(f"look at {folder}"), os.scandir(folder) as entries:
                    for entry in entries:
                        with suppress(FileNotFoundError):  # deleted, or finished under another name
                            blocks += entry.stat(follow_symlinks=False).st_blocks
            self._added_up_bytes, self._added_up_at_s = blocks * 512, time.monotonic()
        return self._added_up_bytes

    def _path(self, id: str) -> Path:
        return self._volumes / f"{id}.raw"

    def _trash_path(self, id: str) -> Path:
        return self._trash / f"{id}.raw"

    def _part(self, id: str) -> Path:
        return self._volumes / f"{id}.part"

    def _stat(self, id: str) -> os.stat_result | None:
        for path in (self._path(id), self._trash_path(id)):
            try:
                return path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreFailed(f"volume {id} could not be looked at: {error}") from error
        return None

    @contextmanager
    def _new_file(self, id: str) -> Iterator[int]:
        """A new file under a temporary name, which gets its own when everything in it is on the disk."""
        part = self._part(id)
        with _errors_explained(f"make volume {id}"):
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                yield file
                os.fsync(file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            finally:
                os.close(file)
            part.rename(self._path(id))
            sync(self._volumes)

    def _move(self, source: Path, target: Path) -> None:
        with _errors_explained(f"move {source} to {target}"):
            if source.exists():
                source.rename(target)
                sync(source.parent)
                sync(target.parent)

    def _can_reflink(self) -> bool:
        """Without names, since the agent that holds the ledger may do the same at this moment."""
        with (
            _errors_explained(f"try the file system of {self._volumes}"),
            TemporaryFile(dir=self._volumes) as source,
            TemporaryFile(dir=self._volumes) as target,
        ):
            source.write(b"\0" * 65536)
            source.flush()
            return copying.reflink(source.fileno(), target.fileno())


def _set_size(file: int, size_bytes: int, *, thin: bool) -> None:
    os.ftruncate(file, size_bytes)
    if not thin:
        os.posix_fallocate(file, 0, size_bytes)


@contextmanager
def _errors_explained(attempt: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(f"could not {attempt}: the disk is full; delete volumes, or add space") from error
        raise StoreFailed(f"could not {attempt}: {error}") from error
