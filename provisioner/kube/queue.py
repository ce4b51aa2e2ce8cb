"""The work queue: a key is worked on once at a time, however often it is added meanwhile.

Keys that fail come back after a delay of their own, so a failing one never holds up the others.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from lundock_common.retry import Backoff

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Thread-safe. `get` hands out a key, `done` gives it back; in between nobody else gets it."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._condition = threading.Condition()
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        """Keys in _ready, or to be put there once their worker is done."""
        self._working: set[K] = set()
        self._due: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._count = 0
        self._failures: dict[K, int] = {}
        self._stopped = False

    def add(self, key: K) -> None:
        """Work on this key as soon as a worker is free."""
        with self._condition:
            self._due.pop(key, None)
            self._add(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on this key then, or earlier where that was asked for already."""
        due = time.monotonic() + delay_s
        with self._condition:
            if key in self._waiting or self._due.get(key, due + 1) <= due:
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._later, (due, self._count, key))
            self._condition.notify()

    def retry(self, key: K) -> float:
        """Work on it again after its back-off, in seconds, which this returns."""
        with self._condition:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay_s = self._backoff.delay_s(failures)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """It went well: its next failure is the first again."""
        with self._condition:
            self._failures.pop(key, None)

    def get(self) -> K | None:
        """The next key; waits for one. None once the queue is stopped."""
        with self._condition:
            while not self._stopped:
                next_due = self._promote()
                if self._ready:
                    key = self._ready.popleft()
                    self._waiting.discard(key)
                    self._working.add(key)
                    return key
                self._condition.wait(None if next_due is None else max(0.0, next_due - time.monotonic()))
            return None

    def done(self, key: K) -> None:
        with self._condition:
            self._working.discard(key)
            if key in self._waiting:
                self._ready.append(key)
                self._condition.notify()
            elif not self._working:
                self._condition.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether no worker holds a key, waited for at most so long."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._working, timeout_s)

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._ready)

    def _add(self, key: K) -> None:
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._condition.notify()

    def _promote(self) -> float | None:
        """Move what is due to _ready.

        Returns:
            When the next one is.
        """
        now = time.monotonic()
        while self._later:
            due, _, key = self._later[0]
            if self._due.get(key) != due:
                heapq.heappop(self._later)
            elif due <= now:
                heapq.heappop(self._later)
                del self._due[key]
                self._add(key)
            else:
                return due
        return None
