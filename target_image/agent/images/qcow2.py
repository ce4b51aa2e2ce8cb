"""The header of a qcow2 file, read before any program opens it. Pure.

Source: QEMU's docs/interop/qcow2.txt. An image is hostile input: a backing file or an external data file
would let it read any file of the agent, so both are refused from the header alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"QFI\xfb"
HEADER_BYTES = 80
"""As much of the file as `read` looks at: up to and with the incompatible feature bits."""

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_UNDERSTOOD = _DIRTY | _COMPRESSION | _EXTENDED_L2


class Refused(Exception):
    """The header asks for what an image may not have."""


@dataclass(frozen=True)
class Header:
    version: int
    virtual_size_bytes: int
    cluster_bytes: int


def read(head: bytes) -> Header:
    """The header of a self-contained, unencrypted image.

    Raises:
        Refused: it is none, or needs what is not known; with the reason.
    """
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        raise Refused("it is not a qcow2 file")
    # version, backing_file_offset, backing_file_size, cluster_bits, size, crypt_method
    version, backing_offset, _, cluster_bits, size_bytes, crypt_method = struct.unpack_from(">IQIIQI", head, 4)
    if version not in (2, 3):
        raise Refused(f"it is qcow2 version {version}; versions 2 and 3 are known")
    if backing_offset:
        raise Refused("it has a backing file, so it is not a whole image: flatten it with `qemu-img convert`")
    if crypt_method:
        raise Refused("it is encrypted")
    if not 9 <= cluster_bits <= 21:
        raise Refused(f"its cluster size, 2^{cluster_bits} bytes, is out of bounds")
    incompatible = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
    if incompatible & _DATA_FILE:
        raise Refused("its data lies in another file, so it is not a whole image: flatten it with `qemu-img convert`")
    if incompatible & _CORRUPT:
        raise Refused("it is marked as corrupt: repair it with `qemu-img check -r all`")
    if incompatible & ~_UNDERSTOOD:
        raise Refused(f"it needs features that are not known (bits {incompatible & ~_UNDERSTOOD:#x})")
    if size_bytes == 0:
        raise Refused("its virtual size is 0")
    return Header(version, size_bytes, 1 << cluster_bits)
