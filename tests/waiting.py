"""Polling, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02


def eventually(look: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """The first true value that `look` returns. Fails with what was waited for and what was last seen."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}; last seen: {seen!r}"
        time.sleep(POLL_S)
    return seen
