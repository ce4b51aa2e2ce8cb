"""What the store contract needs of a store: how one is made for a test, and how a test reads and writes a volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from target_image.agent.backing import FILE, Address
from target_image.agent.stores import Store, StoreName
from target_image.agent.stores.sparse_file import SparseFileStore
from target_image.api.problems import Code

MAKERS: dict[StoreName, Callable[[Path], Store]] = {
    "sparse-file": lambda folder: SparseFileStore(folder, allocated_ttl_s=0),
}
"""Each store, in a folder of the test's own; its `space` must not be old."""

OPENERS: dict[str, Callable[[Address], BinaryIO]] = {FILE: lambda address: address.as_file().open("r+b", buffering=0)}
"""By the kind of an address: what is there, opened for reading and writing."""


def write(store: Store, id: str, content: bytes, offset: int = 0) -> None:
    address = store.address(id)
    with OPENERS[address.kind](address) as disk:
        disk.seek(offset)
        disk.write(content)


def read(store: Store, id: str, size_bytes: int = -1, offset: int = 0) -> bytes:
    """So many bytes; to the end if not said."""
    address = store.address(id)
    with OPENERS[address.kind](address) as disk:
        disk.seek(offset)
        return disk.read(size_bytes)


def has_size(store: Store, id: str, size_bytes: int) -> bool:
    """Whether the volume has just this size, be it in the trash."""
    address = store.find(id)
    if address is None or store.fault(address, size_bytes, writable=True) is not None:
        return False
    beyond = store.fault(address, size_bytes + 1, writable=True)
    return beyond is not None and beyond.code is Code.BACKING_FILE_TRUNCATED
