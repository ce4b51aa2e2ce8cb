"""Where a volume's bytes are: what a store gives, an engine serves and a copy reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from target_image.agent.errors import NotSupported

FILE = "file"


@dataclass(frozen=True)
class Address:
    """The kind says what the value is: of a `file`, an absolute path (block devices are files, too)."""

    kind: str
    value: str

    @classmethod
    def of_file(cls, path: Path | str) -> Self:
        return cls(FILE, str(path))

    def as_file(self) -> Path:
        """The path.

        Raises:
            NotSupported: it is no file, so that who asks cannot use it.
        """
        if self.kind != FILE:
            raise NotSupported(f"{self} cannot be used here: only a file can")
        return Path(self.value)

    def __str__(self) -> str:
        return self.value if self.kind == FILE else f"{self.kind}:{self.value}"
