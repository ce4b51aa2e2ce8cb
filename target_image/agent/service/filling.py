"""The work of copying: volumes that begin as an image or as another volume are filled in the background."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import NamedTuple

import structlog

from target_image.agent.backing import Address
from target_image.agent.errors import AgentError, NotReady, StoreFailed
from target_image.agent.images.library import Images
from target_image.agent.service.capacity import Capacity
from target_image.agent.service.locks import Locks, volume_key
from target_image.agent.service.placement import address_of
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import Condition, ImageSource, VolumeRecord, VolumeSource
from target_image.agent.stores import Store

log = structlog.get_logger()

IMAGE_POLL_S = 0.2
"""How often a volume looks whether its image has arrived."""


class Cancelled(Exception):
    """The volume was deleted while it was filled."""


class Progress(NamedTuple):
    bytes_done: int
    bytes_total: int


class Origin(NamedTuple):
    """What a volume is filled from."""

    address: Address
    size_bytes: int
    stand_in: bool


class Filling:
    """A few threads and the volumes that wait for them. The ledger's `making` rows are the queue that survives."""

    def __init__(
        self, settings: Settings, ledger: Ledger, store: Store, images: Images, capacity: Capacity, locks: Locks
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._images = images
        self._capacity = capacity
        self._locks = locks
        self._condition = threading.Condition()
        self._waiting: dict[str, float] = {}
        self._running: dict[str, threading.Event] = {}
        self._progress: dict[str, Progress] = {}
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run_worker, name=f"filling-{number}", daemon=True)
            for number in range(settings.copy_workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let go of everything; what was not finished is taken up at the next start."""
        with self._condition:
            self._stopping = True
            for cancelled in self._running.values():
                cancelled.set()
            self._condition.notify_all()

    def enqueue(self, id: str, *, wait_s: float = 0.0) -> None:
        """Fill it soon. Waits up to `wait_s`, since a clone by reflink is done before an answer could be sent."""
        with self._condition:
            self._waiting.setdefault(id, 0.0)  # even while it runs: that attempt may have failed just now
            self._condition.notify_all()
            self._condition.wait_for(lambda: id not in self._waiting and id not in self._running, timeout=wait_s)

    def cancel(self, id: str) -> None:
        """Return when nothing is filling it any more."""
        with self._condition:
            self._waiting.pop(id, None)
            while id in self._running:
                self._running[id].set()
                self._condition.wait(timeout=1.0)

    def progress(self, volume: VolumeRecord) -> Progress:
        if isinstance(volume.source, ImageSource) and volume.id not in self._progress:
            try:
                image = self._images.get(volume.source.image)
            except AgentError:
                return Progress(0, 0)
            return Progress(image.bytes_done, image.bytes_total)
        return self._progress.get(volume.id, Progress(0, 0))

    def _run_worker(self) -> None:
        while True:
            with self._condition:
                id = self._wait_for_next()
                if id is None:
                    return
                cancelled = self._running[id] = threading.Event()
            try:
                again = self._fill_or_wait(id, cancelled)
            except Exception:  # the ledger failed too: the volume is filled after the next start
                log.exception("volume could not be filled", volume=id)
                again = False
            with self._condition:
                del self._running[id]
                self._progress.pop(id, None)
                if again and not cancelled.is_set():
                    self._waiting.setdefault(id, time.monotonic() + IMAGE_POLL_S)
                self._condition.notify_all()

    def _wait_for_next(self) -> str | None:
        while not self._stopping:
            free = [item for item in self._waiting.items() if item[0] not in self._running]
            due = min(free, key=lambda item: item[1], default=None)
            if due is not None and due[1] <= time.monotonic():
                del self._waiting[due[0]]
                return due[0]
            self._condition.wait(timeout=None if due is None else due[1] - time.monotonic())
        return None

    def _fill_or_wait(self, id: str, cancelled: threading.Event) -> bool:
        """Whether it has to be tried again, since its image is still on its way."""
        volume = self._ledger.volume(id)
        if volume is None or volume.state != "making":
            return False
        try:
            origin = self._find_origin_or_start_fetch(volume)
            if origin is None:
                return True
            volume = self._admit_copy(volume, origin)
            self._copy_bytes(volume, origin, cancelled)
            self._save_step(volume, replace(volume, state="ready", condition=None, stand_in=origin.stand_in))
            log.info("volume ready", volume=id, size_bytes=volume.size_bytes)
        except Cancelled:
            pass
        except AgentError as error:
            self._save_failure(volume, error)
        except Exception as error:  # a bug must end as a failed volume, not as one that works for ever
            log.exception("a volume failed unexpectedly", volume=id)
            self._save_failure(volume, StoreFailed(f"volume {id} could not be filled: {type(error).__name__}: {error}"))
        return False

    def _save_failure(self, volume: VolumeRecord, error: AgentError) -> None:
        log.error("volume failed", volume=volume.id, code=error.code, detail=error.detail)
        condition = Condition(code=error.code, detail=error.detail)
        with contextlib.suppress(Cancelled):
            self._save_step(volume, replace(volume, state="failed", condition=condition))

    def _find_origin_or_start_fetch(self, volume: VolumeRecord) -> Origin | None:
        if isinstance(volume.source, ImageSource):
            image = self._images.find_or_start_fetch(volume.source.image)
            if image is None:
                return None
            return Origin(Address.of_file(image.path), image.virtual_size_bytes, image.stand_in)
        assert isinstance(volume.source, VolumeSource)  # noqa: S101 - an empty volume is made at once
        source = self._ledger.volume(volume.source.volume)
        if source is None or source.state != "ready" or source.trashed_at is not None:
            raise NotReady(f"volume {volume.id} is a copy of {volume.source.volume}, which is not there any more")
        return Origin(address_of(source, self._store), source.size_bytes, source.stand_in)

    def _admit_copy(self, volume: VolumeRecord, origin: Origin) -> VolumeRecord:
        """A copy is at least as large as its origin, and without reflink takes the same space at once."""
        larger = replace(volume, size_bytes=max(volume.size_bytes, origin.size_bytes))
        growth_bytes = larger.size_bytes - volume.size_bytes
        needed_bytes = self._store.copy_bytes(origin.address)
        with self._capacity.admit(volume.id, growth_bytes, needed_now_bytes=needed_bytes):
            self._save_step(volume, larger)
        return larger

    def _copy_bytes(self, volume: VolumeRecord, origin: Origin, cancelled: threading.Event) -> None:
        def report(bytes_done: int) -> None:
            if cancelled.is_set():
                raise Cancelled(volume.id)
            self._progress[volume.id] = Progress(bytes_done, origin.size_bytes)

        report(0)
        self._store.fill(volume.id, origin.address, volume.size_bytes, thin=volume.thin, progress=report)

    def _save_step(self, before: VolumeRecord, after: VolumeRecord) -> None:
        """Save a step, unless the volume was deleted meanwhile."""
        with self._locks.hold([volume_key(before.id)]):
            now = self._ledger.volume(before.id)
            if now is None or now.state != "making":
                raise Cancelled(before.id)
            self._ledger.save_volume(after)
