"""A client-side limit of calls: a token bucket, as client-go's flow control."""

from __future__ import annotations

import threading
import time


class Bucket:
    """Lets `burst` calls through at once, and then `per_second` of them."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Wait for a token; returns the seconds waited. Callers are served in the order they came."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            self._tokens -= 1
            wait_s = max(0.0, -self._tokens / self._per_second)
        if wait_s:
            time.sleep(wait_s)
        return wait_s
