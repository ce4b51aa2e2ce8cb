"""Volumes as sparse files in one folder of a file system.

Layout: volumes/<id>.raw, volumes/<id>.part while it is made, trash/<id>.raw. A file gets its final name
by rename(2) after fsync(2), so what has the name is complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from target_image.agent.durable import sync
from target_image.agent.errors import NoSpace, SourceChanged, StoreFailed
from target_image.agent.stores import Fault, Space
from target_image.api.problems import Code

FICLONE = 0x40049409
"""ioctl_ficlonerange(2): share the source's blocks, copy on write."""

CHUNK_BYTES = 4 * 2**20
CLOCK_TICK_NS = 20_000_000
"""More than one tick of any kernel's coarse clock (CONFIG_HZ is 100 at least)."""
_NO_REFLINK = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_NO_COPY_RANGE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class SparseFileStore:
    """See stores.Store. Makes its folders, and finds out whether the file system can share blocks."""

    name = "sparse-file"
    clone: Literal["reflink", "sparse-copy"]

    def __init__(self, data_dir: Path) -> None:
        self._volumes = data_dir / "volumes"
        self._trash = data_dir / "trash"
        for folder in (self._volumes, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        self.clone = "reflink" if self._can_reflink() else "sparse-copy"

    def path(self, id: str) -> Path:
        return self._volumes / f"{id}.raw"

    def create(self, id: str, size_bytes: int, *, thin: bool) -> None:
        if self.path(id).exists():
            return
        with self._making(id) as target:
            _set_size(target, size_bytes, thin=thin)

    def fill(self, id: str, source: Path, size_bytes: int, *, thin: bool, progress: Callable[[int], None]) -> None:
        if self.path(id).exists():
            return
        with self._making(id) as target:
            origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not _reflink(origin, target):
                    _copy_data(origin, target, progress)
                progress(os.fstat(origin).st_size)
            finally:
                os.close(origin)
            _set_size(target, max(size_bytes, os.fstat(target).st_size), thin=thin)

    def grow(self, id: str, size_bytes: int, *, thin: bool) -> None:
        with _explained(f"grow volume {id} to {size_bytes} bytes"):
            file = os.open(self.path(id), os.O_RDWR | os.O_CLOEXEC)
            try:
                if os.fstat(file).st_size < size_bytes:
                    _set_size(file, size_bytes, thin=thin)
                    os.fsync(file)
            finally:
                os.close(file)

    def remove(self, id: str) -> None:
        with _explained(f"delete volume {id}"):
            for path in (self._part(id), self.path(id), self._trash / f"{id}.raw"):
                path.unlink(missing_ok=True)
            sync(self._volumes)

    def trash(self, id: str) -> None:
        self._move(self.path(id), self._trash / f"{id}.raw")

    def trashed(self, id: str) -> bool:
        return (self._trash / f"{id}.raw").exists()

    def restore(self, id: str) -> None:
        self._move(self._trash / f"{id}.raw", self.path(id))

    def size_bytes(self, id: str) -> int | None:
        found = self._stat(id)
        return None if found is None else found.st_size

    def allocated_bytes(self, id: str) -> int:
        found = self._stat(id)
        return 0 if found is None else found.st_blocks * 512

    def all_allocated_bytes(self) -> int:
        blocks = 0
        for folder in (self._volumes, self._trash):
            with _explained(f"look at {folder}"), os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # deleted, or finished under another name
                        blocks += entry.stat(follow_symlinks=False).st_blocks
        return blocks * 512

    def space(self) -> Space:
        with _explained(f"look at the free space of {self._volumes}"):
            found = os.statvfs(self._volumes)
        return Space(total_bytes=found.f_blocks * found.f_frsize, free_bytes=found.f_bavail * found.f_frsize)

    def problem(self, path: Path, size_bytes: int, *, writable: bool) -> Fault | None:
        try:
            file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return Fault(
                code=Code.BACKING_FILE_MISSING,
                detail=f"{path} is gone: put it back, or delete the export and the volume",
            )
        except OSError as error:
            return Fault(
                code=Code.BACKING_FILE_UNUSABLE,
                detail=f"{path} cannot be opened for {'writing' if writable else 'reading'} ({error.strerror}): "
                "mend its owner, mode or file system; it is not served read-only instead",
            )
        try:
            return _content_problem(file, path, size_bytes)
        finally:
            os.close(file)

    # -- how -------------------------------------------------------------------------------------------

    def _part(self, id: str) -> Path:
        return self._volumes / f"{id}.part"

    def _stat(self, id: str) -> os.stat_result | None:
        for path in (self.path(id), self._trash / f"{id}.raw"):
            try:
                return path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreFailed(f"volume {id} could not be looked at: {error}") from error
        return None

    @contextmanager
    def _making(self, id: str) -> Iterator[int]:
        """A new file under a temporary name, which gets its own when everything in it is on the disk."""
        part = self._part(id)
        with _explained(f"make volume {id}"):
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                yield file
                os.fsync(file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            finally:
                os.close(file)
            part.rename(self.path(id))
            sync(self._volumes)

    def _move(self, source: Path, target: Path) -> None:
        with _explained(f"move {source} to {target}"):
            if source.exists():
                source.rename(target)
                sync(source.parent)
                sync(target.parent)

    def _can_reflink(self) -> bool:
        with _explained(f"try the file system of {self._volumes}"):
            first, second = self._volumes / ".reflink-a", self._volumes / ".reflink-b"
            try:
                first.write_bytes(b"\0" * 65536)
                with first.open("rb") as source, second.open("wb") as target:
                    return _reflink(source.fileno(), target.fileno())
            finally:
                first.unlink(missing_ok=True)
                second.unlink(missing_ok=True)


def _content_problem(file: int, path: Path, size_bytes: int) -> Fault | None:
    found = os.fstat(file)
    try:
        length = os.lseek(file, 0, os.SEEK_END)  # works for block devices, too
        for offset in (0, max(0, length - 4096)):
            os.pread(file, 4096, offset)
    except OSError as error:
        return Fault(
            code=Code.BACKING_FILE_UNREADABLE,
            detail=f"{path} cannot be read ({error.strerror}): look at the disk below, then restore the volume",
        )
    if length < size_bytes:
        return Fault(
            code=Code.BACKING_FILE_TRUNCATED,
            detail=f"{path} has {length} bytes, and the volume {size_bytes}: restore it from a backup, or delete it",
        )
    if found.st_nlink == 0:
        return Fault(code=Code.BACKING_FILE_MISSING, detail=f"{path} was deleted a moment ago")
    return None


def _reflink(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def _copy_data(source: int, target: int, progress: Callable[[int], None]) -> None:
    """Copy what is not a hole (lseek(2), SEEK_DATA), and notice if the source was written meanwhile."""
    before = _settled(source)
    os.ftruncate(target, before.st_size)
    for start, end in _data_ranges(source, before.st_size):
        offset = start
        while offset < end:
            copied = _copy_some(source, target, offset, min(CHUNK_BYTES, end - offset))
            if copied == 0:
                break
            offset += copied
            progress(offset)
    if os.fstat(source).st_mtime_ns != before.st_mtime_ns:
        raise SourceChanged(
            "the source was written while it was copied, and this file system cannot copy it at one instant: "
            "repeat the request when no initiator writes to it"
        )


def _copy_some(source: int, target: int, offset: int, count: int) -> int:
    """By copy_file_range(2), which took a third of sendfile's time here; by sendfile where it is refused."""
    try:
        copied = os.copy_file_range(source, target, count, offset, offset)
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
        copied = 0
    if copied == 0:
        os.lseek(target, offset, os.SEEK_SET)
        copied = os.sendfile(target, source, offset, count)
    return copied


def _settled(file: int) -> os.stat_result:
    """Its stat, once its time of change is past: the kernel's clock for it ticks only every few milliseconds."""
    while 0 <= time.time_ns() - os.fstat(file).st_mtime_ns < CLOCK_TICK_NS:
        time.sleep(CLOCK_TICK_NS / 1e9)
    return os.fstat(file)


def _data_ranges(file: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < size_bytes:
        try:
            start = os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here to the end
                return
            raise
        offset = os.lseek(file, start, os.SEEK_HOLE)
        yield start, offset


def _set_size(file: int, size_bytes: int, *, thin: bool) -> None:
    os.ftruncate(file, size_bytes)
    if not thin:
        os.posix_fallocate(file, 0, size_bytes)


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(f"could not {attempt}: the disk is full; delete volumes, or add space") from error
        raise StoreFailed(f"could not {attempt}: {error}") from error
