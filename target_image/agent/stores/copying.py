"""Copies from one open file to another: shared blocks where the file system can, else what is not a hole."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from lundock_common.quantity import MIB
from target_image.agent.errors import SourceChanged

FICLONE = 0x40049409
"""ioctl_ficlonerange(2): share the source's blocks, copy on write."""

CHUNK_BYTES = 4 * MIB
CLOCK_TICK_NS = 20_000_000
"""More than one tick of any kernel's coarse clock (CONFIG_HZ is 100 at least)."""
_NO_REFLINK = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_NO_COPY_RANGE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS}


def reflink(source: int, target: int) -> bool:
    """Let the target share the source's blocks; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def copy_data(source: int, target: int, progress: Callable[[int], None]) -> None:
    """Copy what is not a hole (lseek(2), SEEK_DATA).

    Args:
        source: a file that is open for reading.
        target: an empty file that is open for writing.
        progress: called with the offset up to which everything is copied.

    Raises:
        SourceChanged: the source was written meanwhile.
    """
    before = _wait_until_settled(source)
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


def _wait_until_settled(file: int) -> os.stat_result:
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
