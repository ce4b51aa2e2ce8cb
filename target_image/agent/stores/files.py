"""What can be wrong with a backing file. Looks at one file and never changes it."""

from __future__ import annotations

import os
from pathlib import Path

from target_image.agent.stores import Fault
from target_image.api.problems import Code


def find_fault(path: Path, size_bytes: int, *, writable: bool) -> Fault | None:
    """Why a file cannot be served as a volume of this size, or None."""
    try:
        file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Fault(Code.BACKING_FILE_MISSING, f"{path} is gone: put it back, or delete the export and the volume")
    except OSError as error:
        return Fault(
            Code.BACKING_FILE_UNUSABLE,
            f"{path} cannot be opened for {'writing' if writable else 'reading'} ({error.strerror}): "
            "mend its owner, mode or file system; it is not served read-only instead",
        )
    try:
        return _find_content_fault(file, path, size_bytes)
    finally:
        os.close(file)


def identity(path: Path) -> str | None:
    """Device and inode, which stay when the name goes to another file; None where the file cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_dev:x}-{status.st_ino:x}"


def allocated_bytes(path: Path) -> int:
    """The space that a file takes, without its holes."""
    return path.stat().st_blocks * 512


def _find_content_fault(file: int, path: Path, size_bytes: int) -> Fault | None:
    found = os.fstat(file)
    try:
        length = os.lseek(file, 0, os.SEEK_END)  # works for block devices, too
        for offset in (0, max(0, length - 4096)):
            os.pread(file, 4096, offset)
    except OSError as error:
        return Fault(
            Code.BACKING_FILE_UNREADABLE,
            f"{path} cannot be read ({error.strerror}): look at the disk below, then restore the volume",
        )
    if length < size_bytes:
        return Fault(
            Code.BACKING_FILE_TRUNCATED,
            f"{path} has {length} bytes, and the volume {size_bytes}: restore it from a backup, or delete it",
        )
    if found.st_nlink == 0:
        return Fault(Code.BACKING_FILE_MISSING, f"{path} was deleted a moment ago")
    return None
