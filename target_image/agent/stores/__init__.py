"""Volume stores: where a volume's bytes are.

A store holds no desired state either: the ledger says which volumes there shall be, and every method may
be called again after a crash at any point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from target_image.api.problems import Code


@dataclass(frozen=True)
class Space:
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Fault:
    """Why a volume cannot be served: a stable code, and a sentence that says what to do."""

    code: Code
    detail: str


class Store(Protocol):
    """The contract, held by tests/target_image/contract over every store."""

    name: str
    clone: Literal["reflink", "sparse-copy"]
    """`reflink` copies in constant time, and at one instant even while the source is written."""

    def path(self, id: str) -> Path:
        """What an engine opens."""

    def create(self, id: str, size_bytes: int, *, thin: bool) -> None:
        """Make a volume of zeros, durable under its name only when it is complete. There already is success."""

    def fill(self, id: str, source: Path, size_bytes: int, *, thin: bool, progress: Callable[[int], None]) -> None:
        """Make a volume that begins with the source's bytes. `progress` is told the bytes done.

        Raises SourceChanged where the source was written meanwhile and the copy is not of one instant.
        """

    def grow(self, id: str, size_bytes: int, *, thin: bool) -> None:
        """Make the volume this large; the new part reads as zeros. At least that large already is success."""

    def remove(self, id: str) -> None:
        """Delete the volume, wherever it is, and what an unfinished `create` or `fill` left. Not there is success."""

    def trash(self, id: str) -> None:
        """Move the volume out of the way, data kept. There already is success."""

    def trashed(self, id: str) -> bool:
        """Whether it is in the trash."""

    def restore(self, id: str) -> None:
        """Take it out of the trash. Not in it is success."""

    def size_bytes(self, id: str) -> int | None:
        """The volume's size as it is, or None if it is not there."""

    def allocated_bytes(self, id: str) -> int:
        """The space it takes at this moment; 0 if it is not there."""

    def all_allocated_bytes(self) -> int:
        """The space that all volumes take, also in the trash and unfinished. Shared blocks count for each of them."""

    def space(self) -> Space:
        """The file system's space, as an ordinary user of it has it."""

    def problem(self, path: Path, size_bytes: int, *, writable: bool) -> Fault | None:
        """Why a backing file cannot be served, or None. Looks at this one file and never changes it."""
