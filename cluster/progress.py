"""How a step that takes a while says what it does."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Gets a line now and then, for a person to read."""


def silent(_line: str) -> None:
    """No progress."""
