"""An informer: a copy of all objects of one kind that follows the API server, and tells what changed.

List once, then watch from there; a watch that ends is resumed at its last resource version (bookmarks keep
that young), and only 410 Gone makes it list again. The API server may be away for as long as it likes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import structlog

from lundock_common.kubernetes_api import Expired, Json, Kube, KubernetesError, OutcomeUnknown, Watch
from lundock_common.retry import Backoff

Handler = Callable[[Json | None, Json | None], None]
"""Called with the old and the new object; None for one that was not there or is no more."""

log = structlog.get_logger()

CALM_S = 10.0
"""A watch that lasted as long was a good one, though it may have told nothing; a shorter one that did not counts as
a failure, so that nothing a server does makes a hot loop."""


def key_of(item: Json) -> str:
    """namespace/name, or the name alone."""
    meta = item["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def slim(item: Json) -> Json:
    """Without what nobody here reads: on a large cluster that is most of the memory."""
    meta = item["metadata"]
    meta.pop("managedFields", None)
    if (annotations := meta.get("annotations")) is not None:
        annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return item


class Informer:
    """Follows one resource path. `handler` runs on the informer's thread and must return soon."""

    def __init__(self, kube: Kube, path: str, handler: Handler, backoff: Backoff | None = None) -> None:
        self._kube = kube
        self._path = path
        self._handler = handler
        self._backoff = backoff or Backoff(0.2, 30)
        self._items: dict[str, Json] = {}
        self._synced = threading.Event()
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self._version = ""
        """The resource version reached; empty when everything must be listed."""
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._watch is not None:
            self._watch.stop()

    def wait_synced(self, timeout_s: float) -> bool:
        """Whether the first list is here, waited for at most so long."""
        return self._synced.wait(timeout_s)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    def get(self, key: str) -> Json | None:
        """The object as last seen. It is shared: never change it."""
        return self._items.get(key)

    def items(self) -> list[Json]:
        return list(self._items.values())

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            failures += 1
            began = time.monotonic()
            try:
                if not self._version:
                    self._list()
                for _ in self._follow():
                    failures = 0
            except Expired:
                log.info("watch expired, listing again", path=self._path)
                self._version = ""
            except OutcomeUnknown as error:
                log.debug("watch broke off", path=self._path, error=str(error))
            except KubernetesError as error:
                log.warning("cannot watch", path=self._path, error=str(error))
            except Exception:
                # A handler's mistake must not end the informer: start over from a clean list.
                self._version = ""
                failures = max(failures, 1)
                log.exception("the informer failed and starts over", path=self._path)
            if time.monotonic() - began > CALM_S:
                failures = 0
            if failures:
                self._stopped.wait(self._backoff.delay_s(failures))

    def _list(self) -> None:
        items, version = self._kube.list(self._path)
        new = {key_of(item): slim(item) for item in items}
        old, self._items = self._items, new
        for key, item in new.items():
            self._handler(old.get(key), item)
        for key in old.keys() - new.keys():
            self._handler(old[key], None)
        self._version = version
        self._synced.set()

    def _follow(self) -> Iterator[None]:
        """One watch until it ends; yields after each event."""
        self._watch = self._kube.watch(self._path, self._version)
        for event in self._watch:
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                if item.get("code") == 410:
                    raise Expired(410, item.get("reason", ""), item.get("message", ""))
                raise OutcomeUnknown(f"the watch ended with an error: {item.get('message')}")
            if kind != "BOOKMARK":
                self._apply(kind, slim(item))
            self._version = item["metadata"]["resourceVersion"]
            yield
            if self._stopped.is_set():
                return

    def _apply(self, kind: str, item: Json) -> None:
        key = key_of(item)
        if kind == "DELETED":
            self._handler(self._items.pop(key, item), None)
            return
        old = self._items.get(key)
        self._items[key] = item
        self._handler(old, item)
