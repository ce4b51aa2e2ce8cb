"""Puts the parts together: informers feed the queue, workers empty it."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable

import structlog

from lundock_common.kubernetes_api import CLAIMS, CLASSES, VOLUMES, Json, Kube
from lundock_common.retry import Backoff
from provisioner.context import Caches, Context, secret_namespaces
from provisioner.credentials import Credentials
from provisioner.kube.events import Recorder
from provisioner.kube.informer import Informer
from provisioner.kube.queue import WorkQueue
from provisioner.observing.metrics import Metrics
from provisioner.outcomes import Again
from provisioner.planning import volumes
from provisioner.planning.claims import PROVISIONER_KEYS, ClaimName, name_of, notes_of
from provisioner.planning.volumes import Identity
from provisioner.reconcile import Key, Reconciler, VolumeName
from provisioner.settings import Settings, master_key
from provisioner.targets import Connect, Targets, connect

log = structlog.get_logger()

RESYNC_SLOTS = 100
"""Into how many portions a resync is spread."""


class Controller:
    """The whole provisioner but its leader election. `start_watching`, then `start_working`, then `stop`."""

    def __init__(
        self, kube: Kube, settings: Settings, identity: Identity, metrics: Metrics, connect: Connect = connect
    ) -> None:
        self._settings = settings
        self.queue: WorkQueue[Key] = WorkQueue(
            Backoff(settings.queue.backoff_min_seconds, settings.queue.backoff_max_seconds)
        )
        self._waiting_for: dict[str, set[ClaimName]] = {}
        """By the claim they want to clone; so that they go on as soon as it is bound."""
        self.caches = Caches(
            claims=Informer(kube, CLAIMS, self._note_claim),
            classes=Informer(kube, CLASSES, self._note_class),
            pvs=Informer(kube, VOLUMES, self._note_volume),
        )
        self._informers = (self.caches.classes, self.caches.pvs, self.caches.claims)
        targets = Targets(settings, metrics, connect)
        recorder = Recorder(kube, settings.provisioner_name)
        self.context = Context(kube, targets, recorder, metrics, identity, settings)
        self.reconcile = Reconciler(self.context, self.caches, Credentials(self.context, master_key(settings)))
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        metrics.queue_length.set_function(self.queue.__len__)

    def start_watching(self) -> None:
        for informer in self._informers:
            informer.start()

    @property
    def synced(self) -> bool:
        return all(informer.synced for informer in self._informers)

    def wait_synced(self, timeout_s: float) -> bool:
        return all(informer.wait_synced(timeout_s) for informer in self._informers)

    def secret_namespaces(self) -> set[str]:
        """Every namespace that CHAP Secrets may be in, besides the claims' own."""
        return secret_namespaces(self.caches.classes.items(), self._settings)

    def start_working(self, may_act: Callable[[], bool] = lambda: True) -> None:
        """`may_act` is asked before each piece of work; False ends the worker."""
        self.context.recorder.start()
        for number in range(self._settings.queue.workers):
            self._start(f"worker-{number}", lambda: self._work(may_act))
        self._start("resync", self._resync)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the pieces of work in hand, for at most so long, and begin no other."""
        self._stopping.set()
        self.queue.stop()
        for informer in self._informers:
            informer.stop()
        if not self.queue.wait_idle(timeout_s):
            log.warning("some work did not end in time; it is repeated by the next replica")
        self.context.recorder.stop()
        self.context.targets.close()

    def _note_claim(self, old: Json | None, new: Json | None) -> None:
        item = new or old
        assert item is not None  # noqa: S101 (Handler)
        name = name_of(item)
        self._note_clone(name, item if new is not None and not item["spec"].get("volumeName") else None, item)
        if old is not None and new is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
            self.queue.add(name_of(old))
        if self._concerns_us(item):
            self.queue.add(name)
            if new is not None and (bound := item["spec"].get("volumeName")):
                self.queue.add(VolumeName(bound))
        for waiting in self._waiting_for.get(str(name), ()):
            self.queue.add(waiting)

    def _concerns_us(self, claim: Json) -> bool:
        notes = notes_of(claim)
        if any(notes.get(key) == self._settings.provisioner_name for key in PROVISIONER_KEYS):
            return True
        pv = self.caches.pvs.get(claim["spec"].get("volumeName") or "")
        return pv is not None and notes_of(pv).get(volumes.PROVISIONED_BY) == self._settings.provisioner_name

    def _note_clone(self, name: ClaimName, unbound: Json | None, claim: Json) -> None:
        source = claim["spec"].get("dataSource") or {}
        if source.get("kind") != "PersistentVolumeClaim":
            return
        wanted = f"{name.namespace}/{source['name']}"
        waiting = self._waiting_for.setdefault(wanted, set())
        if unbound is not None:
            waiting.add(name)
        else:
            waiting.discard(name)
        if not waiting:
            del self._waiting_for[wanted]

    def _note_volume(self, old: Json | None, new: Json | None) -> None:
        item = new or old
        assert item is not None  # noqa: S101 (Handler)
        if notes_of(item).get(volumes.PROVISIONED_BY) != self._settings.provisioner_name:
            return
        self.queue.add(VolumeName(item["metadata"]["name"]))
        reference = item["spec"].get("claimRef") or {}
        if reference.get("uid"):
            self.queue.add(ClaimName(reference["namespace"], reference["name"], reference["uid"]))

    def _note_class(self, old: Json | None, new: Json | None) -> None:
        """Claims that were refused for their class are looked at again."""
        item = new or old
        assert item is not None  # noqa: S101 (Handler)
        if item["provisioner"] != self._settings.provisioner_name:
            return
        for claim in self.caches.claims.items():
            if claim["spec"].get("storageClassName") == item["metadata"]["name"] and not claim["spec"].get(
                "volumeName"
            ):
                self.queue.add(name_of(claim))

    def _start(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, may_act: Callable[[], bool]) -> None:
        while (key := self.queue.get()) is not None:
            if not may_act():
                self.queue.done(key)
                return
            try:
                outcome = self.reconcile(key)
            except Exception:
                log.exception("a mistake of this program; the key is tried again", key=str(key))
                outcome = Again(None)
            self.queue.done(key)
            match outcome:
                case Again(None):
                    self.queue.retry(key)
                case Again(float() | int() as delay_s):
                    # Spread, for what waits for the same thing (a target, an image) shall not come back at one instant.
                    self.queue.add_after(key, delay_s * random.uniform(1.0, 1.2))  # noqa: S311
                case _:
                    self.queue.forget(key)

    def _resync(self) -> None:
        """Every object again once in each interval, and its Secret too; spread, so that it is no burst."""
        slot = 0
        while not self._stopping.wait(self._settings.queue.resync_seconds / RESYNC_SLOTS):
            slot = (slot + 1) % RESYNC_SLOTS
            for claim in self.caches.claims.items():
                if _slot(claim) == slot and self._concerns_us(claim):
                    self.queue.add(name_of(claim))
            for pv in self.caches.pvs.items():
                if _slot(pv) == slot and notes_of(pv).get(volumes.PROVISIONED_BY) == self._settings.provisioner_name:
                    self.reconcile.keeper.recheck(pv["metadata"]["name"])
                    self.queue.add(VolumeName(pv["metadata"]["name"]))


def _slot(item: Json) -> int:
    return zlib.crc32(item["metadata"]["uid"].encode()) % RESYNC_SLOTS
