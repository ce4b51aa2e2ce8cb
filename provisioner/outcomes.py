"""How a piece of work ended. What went wrong is an exception (`errors`); these are the ends that are none."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Done:
    """Nothing more until something changes."""


@dataclass(frozen=True)
class Again:
    """Not finished: once more after `delay_s` seconds, or after the key's own back-off where it is None."""

    delay_s: float | None
    why: str = field(default="", compare=False)
    """For the log."""


Outcome = Done | Again
