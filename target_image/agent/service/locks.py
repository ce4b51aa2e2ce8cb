"""One lock per name, so that requests for different volumes never wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager


def export_key(id: str) -> str:
    return f"export/{id}"


def volume_key(id: str) -> str:
    return f"volume/{id}"


class Locks:
    """Locks by name. All that a piece of work needs are taken at once and in one order, so no two can deadlock."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Hold the locks of these names. Not reentrant: never call it while holding any."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self._hold_one(name))
            yield

    @contextmanager
    def _hold_one(self, name: str) -> Iterator[None]:
        with self._mutex:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._mutex:
                lock, users = self._locks[name]
                if users == 1:
                    del self._locks[name]
                else:
                    self._locks[name] = (lock, users - 1)
