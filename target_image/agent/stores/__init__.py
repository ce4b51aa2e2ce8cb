"""Volume stores: where a volume's bytes are.

A store holds no desired state: the ledger says which volumes there must be, and every method may be called again after
a crash at any point. A store need not be a file system: it gives the address of a volume, and says how much space it
has and what is wrong with a volume.

Backups are files, whatever the store is (state/backup.py). A SparseFileStore fills a backup from what `find` gives, and
reads files only: a store whose volumes are no files has to bring another way out. A restore needs nothing more, since
`fill` takes a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol

from target_image.agent.backing import Address
from target_image.api.problems import Code

if TYPE_CHECKING:
    from target_image.agent.settings import Settings


@dataclass(frozen=True)
class Space:
    """The space of a store, as an ordinary user of it has it."""

    total_bytes: int
    free_bytes: int
    allocated_bytes: int
    """What all volumes take, also in the trash and unfinished. Blocks that are shared count for each of them."""


@dataclass(frozen=True)
class Fault:
    """Why a volume cannot be served: a stable code, and a sentence that says what to do."""

    code: Code
    detail: str


class Store(Protocol):
    """The contract, held by tests/target_image/contract over every store.

    Where it says "any address", a store takes its own and those of files outside it, which the operator named.
    """

    name: str
    location: str
    """Where its volumes are, for messages."""
    clone: Literal["reflink", "sparse-copy"]
    """`reflink` copies in constant time, and at one instant even while the source is written."""

    def address(self, id: str) -> Address:
        """What an engine opens; asks nobody whether it exists."""

    def find(self, id: str) -> Address | None:
        """Where the volume is at this moment, also in the trash; None if it does not exist."""

    def ids(self) -> list[str]:
        """Ids of the volumes that there are, without those in the trash."""

    def create(self, id: str, size_bytes: int, *, thin: bool) -> None:
        """Make a volume of zeros, durable under its name only when it is complete. Succeeds if it exists."""

    def fill(self, id: str, source: Address, size_bytes: int, *, thin: bool, progress: Callable[[int], None]) -> None:
        """Make a volume that begins with the source's bytes. `progress` is called with the bytes done.

        Args:
            id: the new volume. Succeeds if it exists.
            source: any address.
            size_bytes: the volume's size; it is at least as large as its source.
            thin: whether the space is allocated only when it is written.
            progress: may raise, which ends the copy and leaves nothing.

        Raises:
            SourceChanged: the source was written meanwhile, and the copy is not of one instant.
        """

    def copy_bytes(self, source: Address) -> int:
        """The space that a copy of any address takes at once; 0 where blocks are shared."""

    def grow(self, id: str, size_bytes: int, *, thin: bool) -> None:
        """Make the volume this large; the new part reads as zeros. Succeeds if it is at least that large."""

    def remove(self, id: str) -> None:
        """Delete the volume, wherever it is, and what an unfinished `create` or `fill` left.

        Succeeds if it does not exist.
        """

    def trash(self, id: str) -> None:
        """Move the volume out of the way, data kept. Succeeds if it is in the trash."""

    def is_trashed(self, id: str) -> bool:
        """Whether it is in the trash."""

    def restore(self, id: str) -> None:
        """Take it out of the trash. Succeeds if it is not in it."""

    def allocated_bytes(self, id: str) -> int:
        """The space it takes at this moment; 0 if it does not exist."""

    def space(self) -> Space:
        """The store's space. What is slow to add up may be some seconds old."""

    def fault(self, address: Address, size_bytes: int, *, writable: bool) -> Fault | None:
        """Why what is at any address cannot be served, or None. Looks at this one volume and never changes it."""

    def identity(self, address: Address) -> str | None:
        """What changes when something else takes the place of what is at any address; None if it does not exist."""


StoreName = Literal["sparse-file"]

STORES: dict[StoreName, tuple[str, str]] = {
    "sparse-file": ("target_image.agent.stores.sparse_file", "SparseFileStore"),
}
"""Module and class of each store, which has a class method `of_settings`. Imported by name, as the engines are."""


def make_store(settings: Settings, name: StoreName = "sparse-file") -> Store:
    """The store of the agent's volumes. As long as there is one kind, no setting chooses.

    Raises:
        StoreFailed: it cannot be used, or NoSpace.
    """
    module, cls = STORES[name]
    store: Store = getattr(import_module(module), cls).of_settings(settings)
    return store
