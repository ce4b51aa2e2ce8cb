"""From what was downloaded to a sparse raw file. The content is hostile: every step has its bounds."""

from __future__ import annotations

import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lundock_common import process
from lundock_common.process import ProgramFailed
from lundock_common.quantity import MIB
from target_image.agent.errors import ImageFailed
from target_image.agent.images import qcow2
from target_image.agent.images.download import CHUNK_BYTES, NO_ROOM, ROOM_EVERY_BYTES, Progress, Stopped
from target_image.api.fields import ImageFormat

XZ_MEMORY_BYTES = 256 * MIB
"""xz -9 needs 65 MiB to unpack; a file that asks for more than this is refused."""

Stopping = Callable[[], bool]

BLOCK_BYTES = 4096
_ZEROS = bytes(CHUNK_BYTES)


@dataclass(frozen=True)
class Bounds:
    max_bytes: int
    memory_bytes: int
    timeout_s: float
    room: Callable[[], int] = field(default=lambda: sys.maxsize)
    """Bytes that may still be written without taking space from anyone."""


def packing(url: str) -> str:
    """ "gz", "xz" or "" by the end of the URL's path."""
    path = url.partition("#")[0].partition("?")[0].lower()
    return next((suffix for suffix in ("gz", "xz") if path.endswith(f".{suffix}")), "")


def unpack(packed: Path, packing: str, output: Path, bounds: Bounds, progress: Progress, stopping: Stopping) -> None:
    """Unpack a .gz or .xz file into a sparse one.

    Args:
        packed: the file.
        packing: "gz" or "xz".
        output: the file to write; what it held is lost.
        bounds: the most bytes to write, and the room that there is.
        progress: called with the packed bytes that were read, and with all of them.
        stopping: asked for each chunk; True ends the work.

    Raises:
        ImageFailed: the file is broken, unpacks to more than the bounds, or there is no room.
        Stopped: `stopping` said so.
    """
    packed_bytes = packed.stat().st_size
    try:
        with packed.open("rb") as source, output.open("wb") as file:
            length = 0
            for chunk in _unpacked(source, packing):
                if stopping():
                    raise Stopped
                before, length = length, length + len(chunk)
                if length // ROOM_EVERY_BYTES > before // ROOM_EVERY_BYTES and bounds.room() <= 0:
                    raise ImageFailed(f"the image could not be unpacked: {NO_ROOM}")
                if length > bounds.max_bytes:
                    raise ImageFailed(
                        f"the image unpacks to more than {bounds.max_bytes} bytes (--image-max-bytes): refused"
                    )
                _write_sparse(file, chunk)
                progress(source.tell(), packed_bytes)
            file.truncate(length)
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ImageFailed(f"the image is not a whole .{packing} file: {error}") from error


def format_of(image: Path) -> ImageFormat:
    """What an image that somebody vouches for is, by its first bytes."""
    with image.open("rb") as file:
        return ImageFormat.QCOW2 if file.read(len(qcow2.MAGIC)) == qcow2.MAGIC else ImageFormat.RAW


def to_raw(image: Path, format: ImageFormat, output: Path, bounds: Bounds, stopping: Stopping = lambda: False) -> int:
    """Write the image to `output` as a sparse raw disk; `image` may be moved there.

    Args:
        image: the unpacked image.
        format: what it is, as its spec says.
        output: the file to write.
        bounds: the limits of qemu-img.
        stopping: asked while qemu-img runs; True ends it.

    Returns:
        The size of the disk in bytes.

    Raises:
        ImageFailed: the image is empty, refused, of another format, or cannot be converted.
        Stopped: `stopping` said so.
    """
    with image.open("rb") as file:
        head = file.read(qcow2.HEADER_BYTES)
    if format is ImageFormat.QCOW2:
        return _from_qcow2(image, head, output, bounds, stopping)
    if head.startswith(qcow2.MAGIC):
        raise ImageFailed(
            f"the image is said to be {format.value}, but its content is qcow2: a disk of those bytes would not boot; "
            "give format qcow2"
        )
    size_bytes = image.stat().st_size
    if size_bytes == 0:
        raise ImageFailed("the image is empty")
    image.rename(output)
    return size_bytes


def _from_qcow2(image: Path, head: bytes, output: Path, bounds: Bounds, stopping: Stopping) -> int:
    try:
        header = qcow2.read(head)
    except qcow2.Refused as error:
        raise ImageFailed(f"the image is refused: {error}") from error
    if header.virtual_size_bytes > bounds.max_bytes:
        raise ImageFailed(
            f"the image is refused: its virtual size is {header.virtual_size_bytes} bytes, "
            f"and at most {bounds.max_bytes} are taken (--image-max-bytes)"
        )
    limits = process.Limits(
        address_space_bytes=bounds.memory_bytes, file_size_bytes=bounds.max_bytes, cpu_s=int(bounds.timeout_s)
    )
    # The formats are named, so that nothing is guessed from content.
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "4k", str(image), str(output)]
    # glibc reserves up to 128 MiB of addresses for each thread's own arena, and on a busy machine more of qemu-img's
    # threads unpack at once: with 1 GiB in all it then ended because it could not start another thread.
    environment = {"MALLOC_ARENA_MAX": "1"}

    def objection() -> str:
        if stopping():
            return "the agent stops"
        return NO_ROOM if bounds.room() <= 0 else ""

    try:
        process.run(
            argv,
            timeout_s=bounds.timeout_s,
            limits=limits,
            environment=environment,
            dies_with_thread=True,
            objection=objection,
        )
    except ProgramFailed as error:
        if stopping():
            raise Stopped from error
        raise ImageFailed(f"the image could not be converted: {error}") from error
    if bounds.room() < 0:  # it was quicker than the looks at it
        raise ImageFailed(f"the image could not be kept: {NO_ROOM}")
    size_bytes = output.stat().st_size
    # qemu-img rounds a raw file up to whole sectors.
    if not header.virtual_size_bytes <= size_bytes < header.virtual_size_bytes + 512:
        raise ImageFailed(f"the image became {size_bytes} bytes, and its header says {header.virtual_size_bytes}")
    return size_bytes


def _unpacked(source: BinaryIO, packing: str) -> Iterator[bytes]:
    """The unpacked bytes in chunks of at most CHUNK_BYTES, whatever the ratio: memory stays bounded."""
    if packing == "xz":
        yield from _unxz(source)
        return
    with gzip.GzipFile(fileobj=source) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _unxz(source: BinaryIO) -> Iterator[bytes]:
    """Streams one after the other, and the padding after each.

    By a decompressor object, since lzma.LZMAFile takes no memlimit: a file's header may ask for a dictionary of 4 GiB.
    """
    data = source.read(CHUNK_BYTES)
    while data:
        stream = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
        while not stream.eof:
            chunk = stream.decompress(data, CHUNK_BYTES)
            if chunk:
                yield chunk
            data = b""
            if stream.needs_input and not stream.eof:
                data = source.read(CHUNK_BYTES)
                if not data:
                    raise EOFError("it ends too early")
        data = (stream.unused_data or source.read(CHUNK_BYTES)).lstrip(b"\0")


def _write_sparse(file: BinaryIO, chunk: bytes) -> None:
    """Write, leaving a hole wherever a whole block is zeros."""
    if chunk == _ZEROS[: len(chunk)]:
        file.seek(len(chunk), 1)
        return
    for start in range(0, len(chunk), BLOCK_BYTES):
        block = chunk[start : start + BLOCK_BYTES]
        if block == _ZEROS[: len(block)]:
            file.seek(len(block), 1)
        else:
            file.write(block)
