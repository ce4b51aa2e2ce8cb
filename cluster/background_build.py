"""Kubernetes' build, which takes minutes the first time: it runs beside whatever does not need it yet."""

from __future__ import annotations

import threading

from cluster.components.build import build
from cluster.errors import ClusterError
from cluster.terminal import say


class BackgroundBuild:
    """Starts the build in a thread at once; `wait` waits for its end."""

    def __init__(self) -> None:
        self._last, self._shown = "", ""
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="build", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            build(self._note)
        except ClusterError as error:
            self._error = error

    def _note(self, line: str) -> None:
        self._last = line

    def wait(self) -> None:
        """Wait for the end, with a line of progress now and then.

        Raises:
            ClusterError: what the build raised.
        """
        while self._thread.is_alive():
            if self._last != self._shown:
                self._shown = self._last
                say(f"  building Kubernetes (once; then it is in the cache): {self._shown}")
            self._thread.join(timeout=15)
        if self._error is not None:
            raise self._error
