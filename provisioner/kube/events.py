"""Events on claims and volumes: best effort, in the background, each said once.

Posting an event never fails or delays the work. The name of an event is made of what it says, so that a
repetition (after a restart too) updates the one that is there.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from lundock_common.kubernetes_api import AlreadyExists, Kube, KubernetesError, NotFound, object_path, objects_path

log = structlog.get_logger()

MESSAGE_LIMIT = 1024
"""The API server refuses longer ones (core/v1 validation)."""


@dataclass(frozen=True)
class Subject:
    """What an event is about."""

    kind: Literal["PersistentVolumeClaim", "PersistentVolume"]
    namespace: str
    """Empty for a PersistentVolume; its events lie in `default`."""
    name: str
    uid: str


@dataclass(frozen=True)
class Event:
    subject: Subject
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    key: str
    """What makes it the same event again: its message, or less where that holds numbers that change."""

    @property
    def name(self) -> str:
        text = "\n".join((self.subject.uid, self.reason, self.key)).encode()
        return f"{self.subject.name[:200]}.{hashlib.sha256(text).hexdigest()[:16]}"


class Recorder:
    """Posts events on a thread of its own. A full queue drops the newest."""

    def __init__(self, kube: Kube, component: str, repeat_after_s: float = 600, capacity: int = 4096) -> None:
        self._kube = kube
        self._component = component
        self._repeat_after_s = repeat_after_s
        self._queue: queue.Queue[Event | None] = queue.Queue(capacity)
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When each event was last posted (monotonic) and how often, the newest last."""
        self._capacity = capacity
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Post what is queued, for at most so long. A replica that never led has nothing to post."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def normal(self, subject: Subject, reason: str, message: str) -> None:
        self._put(Event(subject, "Normal", reason, message[:MESSAGE_LIMIT], message))

    def warning(self, subject: Subject, reason: str, message: str, key: str = "") -> None:
        self._put(Event(subject, "Warning", reason, message[:MESSAGE_LIMIT], key or message))

    def _put(self, event: Event) -> None:
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            log.debug("event dropped, too many are waiting", reason=event.reason)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._post(event)
            except KubernetesError as error:
                log.debug("event not posted", reason=event.reason, error=str(error))
            except Exception:
                log.exception("event not posted", reason=event.reason)

    def _post(self, event: Event) -> None:
        last, count = self._said.get(event.name, (float("-inf"), 0))
        now = time.monotonic()
        if now - last < self._repeat_after_s:
            return
        self._said[event.name] = (now, count + 1)
        self._said.move_to_end(event.name)
        while len(self._said) > self._capacity:
            self._said.popitem(last=False)
        namespace = event.subject.namespace or "default"
        path = object_path(namespace, "events", event.name)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if count:
            try:
                self._kube.patch(path, {"count": count + 1, "lastTimestamp": at, "message": event.message})
                return
            except NotFound:
                pass  # events live an hour; say it again
        try:
            self._kube.create(objects_path(namespace, "events"), self._body(event, at))
        except AlreadyExists:
            self._kube.patch(path, {"lastTimestamp": at, "message": event.message})

    def _body(self, event: Event, at: str) -> dict[str, Any]:
        subject = event.subject
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event.name, "namespace": subject.namespace or "default"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": subject.kind,
                "name": subject.name,
                "uid": subject.uid,
                **({"namespace": subject.namespace} if subject.namespace else {}),
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": self._component},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
