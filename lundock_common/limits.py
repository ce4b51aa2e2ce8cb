"""A client-side limit of calls: a token bucket, as client-go's flow control (pure but for its clock)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How the API server is called."""

    requests_per_second: float = 200
    """Limit of all calls but watches. client-go's 5 would be what bounds the rate of provisioning."""
    burst: int = 400
    """Calls at once before the limit counts."""
    timeout_seconds: float = 30
    """Of one call; after it the outcome is unknown, and the call is repeated."""
    watch_seconds: float = 300
    """After this long a watch is ended by the server and resumed where it was."""


class Bucket:
    """Lets `burst` calls through at once, and then `per_second` of them."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Wait for a token. Callers are served in the order they came.

        Returns:
            The seconds waited.
        """
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            self._tokens -= 1
            wait_s = max(0.0, -self._tokens / self._per_second)
        if wait_s:
            time.sleep(wait_s)
        return wait_s
