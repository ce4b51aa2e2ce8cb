"""What keeps the engine at what the ledger says: the replay at start, and a watch afterwards.

One thread does all of it, from the engine's first process to its last: tgtd dies with the thread that
started it (process.spawn), and that is what an agent that was killed needs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog

from target_image.agent.engines import Engine
from target_image.agent.errors import AgentError
from target_image.agent.service.exports import Exports
from target_image.agent.service.locks import Locks, export_key, volume_key
from target_image.agent.service.serving import Serving
from target_image.agent.service.storing import Storing
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import ExportRecord
from target_image.api import fields

log = structlog.get_logger()

DEATH_POLL_S = 0.2
REPLAY_WORKERS = 4
PAUSE_S = 0.001

AUDIT_EVERY = 6
"""Every so many looks, all of the engine's targets are read back."""


class Supervisor:
    """Starts the engine, replays the ledger into it, and repairs what goes wrong later."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        engine: Engine,
        serving: Serving,
        storing: Storing,
        exports: Exports,
        locks: Locks,
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._serving = serving
        self._storing = storing
        self._exports = exports
        self._locks = locks
        self._interval_s = settings.check_interval_s
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self.opened = threading.Event()
        """Set for good when the ledger was replayed for the first time."""
        self.serving = threading.Event()
        """Set while nothing is being replayed."""
        self.failure: AgentError | None = None
        """Why the engine could not be started at all; the agent ends then."""
        self.restarts = 0
        self._empty: set[int] = set()
        """Shards that were started again and not yet replayed and opened."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, then stop the engine."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._start_engine()
            looks = 0
            while not self._stopping:
                looks += 1
                self._watch_once(audit=looks % AUDIT_EVERY == 0)
                self._wait_for_next_look()
        except AgentError as error:
            self.failure = error
            log.critical("the engine could not be started", code=error.code, detail=error.detail)
        except Exception as error:
            self.failure = AgentError(f"an unexpected {type(error).__name__}: the log above has all of it")
            log.exception("the supervisor failed")
        finally:
            self._engine.stop()

    def _wait_for_next_look(self) -> None:
        """Until the next look is due. A dead process is noticed sooner: its initiators are waiting."""
        deadline = time.monotonic() + self._interval_s
        while not self._stopping and time.monotonic() < deadline and not self._engine.dead_shards():
            if self._wake.wait(min(DEATH_POLL_S, self._interval_s)):
                self._wake.clear()
                return

    def _start_engine(self) -> None:
        began = time.monotonic()
        self._engine.start()
        for volume in self._ledger.volumes():
            if self._stopping:
                return
            if not self._storing.is_settled(volume):
                self._finish_volume(volume.id)
        exports = self._ledger.exports()
        self._replay(exports)
        self._engine.open()
        self.opened.set()
        self.serving.set()
        log.info("serving", exports=len(exports), seconds=round(time.monotonic() - began, 3))

    def _watch_once(self, *, audit: bool) -> None:
        """One round of the watch. A failure of one round is logged and tried again in the next."""
        try:
            self._engine.kill_hung()
            self._restart_dead_shards()
            self._serve_again(self._ids_that_need_work())
            if audit:
                differing = self._serving.audit(self._ledger.exports())
                for export in differing:
                    log.warning("the engine does not serve this export as told: mending it", export=export.id)
                self._serve_again(export.id for export in differing)
        except Exception:
            log.exception("the watch failed; it goes on")

    def _restart_dead_shards(self) -> None:
        """Start them again, replay all that are empty, then serve. What fails here is taken up in the next round."""
        for shard in sorted(self._engine.dead_shards()):
            log.error("tgtd died: it is started again", shard=shard)
            self.restarts += 1
            self.serving.clear()
            self._empty.add(shard)
            self._serving.forget_shard(self._exports_of(shard))
            self._engine.restart(shard)
        if not self._empty:
            return
        self._replay(export for export in self._ledger.exports() if export.shard in self._empty)
        self._engine.open()
        log.info("serving again", shards=sorted(self._empty))
        self._empty.clear()
        self.serving.set()

    def _exports_of(self, shard: int) -> list[ExportRecord]:
        return [export for export in self._ledger.exports() if export.shard == shard]

    def _ids_that_need_work(self) -> Iterator[str]:
        """Ids of the exports that need work. Requests go first: with thousands, a look takes seconds of small steps."""
        for id in self._ledger.export_ids():
            if self._stopping or self._engine.dead_shards():
                return
            export = self._ledger.export(id)
            if export is not None and self._needs_work(export):
                yield id
            time.sleep(PAUSE_S)

    def _needs_work(self, export: ExportRecord) -> bool:
        settled = self._serving.phase(export) in (fields.Phase.READY, fields.Phase.OFFLINE)
        return not settled or self._serving.needs_serving(export)

    def _replay(self, exports: Iterable[ExportRecord]) -> None:
        """Several at a time: the agent and each tgtd wait for one another otherwise."""

        def replay(export: ExportRecord) -> None:
            if not self._stopping:
                self._finish_export(export.id, replay=True)

        with ThreadPoolExecutor(REPLAY_WORKERS) as pool:
            list(pool.map(replay, exports))

    def _serve_again(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._finish_export(id, replay=False)

    def _finish_export(self, id: str, *, replay: bool) -> None:
        with self._locks.hold([export_key(id)]):
            export = self._ledger.export(id)
            if export is None:
                return
            try:
                self._exports.finish(export, replay=replay)
            except AgentError as error:
                log.error("export could not be brought up", export=id, code=error.code, detail=error.detail)

    def _finish_volume(self, id: str) -> None:
        with self._locks.hold([volume_key(id)]):
            volume = self._ledger.volume(id)
            if volume is None:
                return
            try:
                self._storing.resume(volume)
            except AgentError as error:
                log.error("volume could not be finished", volume=id, code=error.code, detail=error.detail)
