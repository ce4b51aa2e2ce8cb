"""How long to wait before something is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from `min_s` to `max_s`, each shortened by up to a half at random."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s

    def delay_s(self, failures: int) -> float:
        """Seconds before the next attempt, after so many failures (1 or more)."""
        longest = min(self._max_s, self._min_s * 2.0 ** min(failures - 1, 60))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)
