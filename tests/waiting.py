"""Polling, instead of sleeping: a wait that fails the test, with what was waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cluster.machine.waiting import wait_for

T = TypeVar("T")

POLL_S = 0.02


def eventually(look: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """The first true value that `look` returns. Fails with what was waited for and what was last seen."""
    seen = wait_for(look, timeout_s, pause_s=POLL_S)
    assert seen, f"waited {timeout_s:g} s for {what}; last seen: {seen!r}"
    return seen
