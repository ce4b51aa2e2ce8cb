"""From the ledger's exports to the engine's targets, and who is logged in to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import structlog

from target_image.agent import engines, naming, translate
from target_image.agent.engines import BackingLun, Engine, LiveSession, TargetState
from target_image.agent.errors import EngineFailed, InUse, Invalid, StartGrace
from target_image.agent.service.placement import address_of
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import Condition, Credentials, ExportRecord, Lun, VolumeRecord
from target_image.agent.stores import Store
from target_image.api import fields, responses

log = structlog.get_logger()


class Serving:
    """Serves exports, or says why one is offline. A bad backing file takes down its own export and no other.

    The caller holds the export's lock.
    """

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, engine: Engine) -> None:
        self._ledger = ledger
        self._store = store
        self._engine = engine
        self._grace_s = settings.delete_grace_s
        self._mutex = threading.Lock()
        self._conditions: dict[str, Condition] = {}
        self._served: set[str] = set()
        self._served_identities: dict[str, dict[str, str]] = {}
        """By export and volume: what the engine holds open."""
        self._replayed_at: dict[str, float] = {}

    def serve(self, export: ExportRecord, *, replay: bool = False) -> None:
        """Make the engine serve it, or take it down where a backing file is bad.

        Where another file has taken a backing file's name, its sessions are ended first: what the engine still has
        open has no name, and what would be acknowledged there would be gone at the next start.

        Args:
            export: what is promised.
            replay: start the grace time, in which initiators come back.

        Raises:
            EngineFailed: the engine could not do it.
            Invalid: an earlier agent promised what this engine does not serve.
        """
        if replay:
            self._replayed_at[export.id] = time.monotonic()
        volumes = self._volumes_of(export)
        condition = self._find_fault(export, volumes)
        identities = self._identities(volumes)
        replaced = self._replaced_volumes(export, identities)
        target = self._target_state(export, volumes)
        try:
            if condition is None:
                if replaced:
                    log.error("a backing file was replaced while it was served", export=export.id, volumes=replaced)
                    self._engine.remove(target)
                self._engine.apply(target)
            else:
                self._engine.remove(target)
        except (EngineFailed, Invalid) as error:
            self._save_outcome(export.id, Condition(code=error.code, detail=error.detail))
            raise
        self._served_identities[export.id] = identities
        self._save_outcome(export.id, condition)

    def check(self, export: ExportRecord) -> None:
        """Refuse what the engine can never serve.

        Raises:
            Invalid: it cannot take a name, a path or a password as it is written.
            NotSupported: it cannot do what is asked for.
        """
        self._engine.check(self._target_state(export, self._volumes_of(export)))

    def withdraw(self, export: ExportRecord) -> None:
        """Take it down, with its sessions.

        Raises:
            EngineFailed: the engine could not take it down.
        """
        self._engine.remove(self._target_state(export, self._volumes_of(export)))
        with self._mutex:
            self._conditions.pop(export.id, None)
            self._replayed_at.pop(export.id, None)
            self._served_identities.pop(export.id, None)
            self._served.discard(export.id)

    def condition(self, export_id: str) -> Condition | None:
        return self._conditions.get(export_id)

    def phase(self, export: ExportRecord) -> fields.Phase:
        if export.deleting:
            return fields.Phase.DELETING
        if export.id in self._conditions:
            return fields.Phase.OFFLINE
        return fields.Phase.READY if export.id in self._served else fields.Phase.PENDING

    def forget_shard(self, exports: Iterable[ExportRecord]) -> None:
        """Their process died: nothing of them is served."""
        with self._mutex:
            self._served.difference_update(export.id for export in exports)

    def needs_serving(self, export: ExportRecord) -> bool:
        """Whether a backing file has gone bad, is usable again, or is another one, since it was served."""
        volumes = self._volumes_of(export)
        if self._find_fault(export, volumes) != self._conditions.get(export.id):
            return True
        return bool(self._replaced_volumes(export, self._identities(volumes)))

    def audit(self, exports: Sequence[ExportRecord]) -> list[ExportRecord]:
        """Those that the engine does not serve as they were applied."""
        online = {export.tid: export for export in exports if self.phase(export) is fields.Phase.READY}
        targets = [self._target_state(export, self._volumes_of(export)) for export in online.values()]
        return [online[target.tid] for target in self._engine.audit(targets)]

    def sessions(self, exports: Sequence[ExportRecord]) -> list[responses.Session]:
        ids = {export.iqn: export.id for export in exports}
        return [
            translate.session_to_response(ids[live.iqn], live)
            for live in self._live_sessions(exports)
            if live.iqn in ids
        ]

    def end_sessions(self, export: ExportRecord, *, only: set[int] | None = None) -> None:
        """End all sessions, or those with these numbers."""
        target = self._target_without_luns(export)
        for live in self._live_sessions([export]):
            if only is None or live.session in only:
                log.info("session ended", export=export.id, session=live.session, initiator=live.initiator)
                self._engine.end_session(target, live)

    def require_idle(self, export: ExportRecord, attempt: str) -> None:
        """Refuse what would cut an initiator off.

        Args:
            export: what it would be done to.
            attempt: what would be done, as a verb for the message.

        Raises:
            InUse: sessions live; lists them.
            StartGrace: initiators may still be on their way back.
        """
        sessions = self.sessions([export])
        if sessions:
            who = ", ".join(sorted({session.initiator for session in sessions}))
            raise InUse(
                f"cannot {attempt} export {export.id}: {who} is logged in; "
                "log it out (stop the VM), or repeat with ?force=true to cut it off",
                sessions=sessions,
                retry_after_s=10,
            )
        since = self._replayed_at.get(export.id)
        left_s = 0.0 if since is None else since + self._grace_s - time.monotonic()
        if left_s > 0:
            raise StartGrace(
                f"cannot {attempt} export {export.id} yet: the target started a moment ago and initiators may be on "
                f"their way back; repeat in {left_s:.0f} s, or now with ?force=true",
                retry_after_s=left_s,
            )

    def volume_sessions(self, volume_id: str) -> list[responses.Session]:
        """Live sessions of every export that serves a volume."""
        exports = [self._ledger.export(id) for id in self._ledger.exports_of(volume_id)]
        return self.sessions([export for export in exports if export is not None])

    def session_bytes(self, export: ExportRecord) -> dict[int, tuple[int, int]]:
        return self._engine.session_bytes(self._target_without_luns(export))

    def _live_sessions(self, exports: Sequence[ExportRecord]) -> list[LiveSession]:
        return self._engine.sessions([self._target_without_luns(export) for export in exports])

    def _volumes_of(self, export: ExportRecord) -> dict[str, VolumeRecord]:
        records = {id: self._ledger.volume(id) for id in export.volumes}
        return {id: record for id, record in records.items() if record is not None}

    def _find_fault(self, export: ExportRecord, volumes: dict[str, VolumeRecord]) -> Condition | None:
        for lun in export.luns:
            volume = volumes[lun.volume]
            address = address_of(volume, self._store)
            fault = self._store.fault(address, volume.size_bytes, writable=not lun.read_only)
            if fault is not None:
                return Condition(code=fault.code, detail=fault.detail)
        return None

    def _identities(self, volumes: dict[str, VolumeRecord]) -> dict[str, str]:
        """By volume: what the store has now. Those that do not exist are left out."""
        found = {id: self._store.identity(address_of(volume, self._store)) for id, volume in volumes.items()}
        return {id: identity for id, identity in found.items() if identity is not None}

    def _replaced_volumes(self, export: ExportRecord, identities: dict[str, str]) -> list[str]:
        """Volumes that are served from a file which does not have their name any more."""
        served = self._served_identities.get(export.id, {}) if export.id in self._served else {}
        return sorted(id for id, identity in identities.items() if served.get(id, identity) != identity)

    def _target_state(self, export: ExportRecord, volumes: dict[str, VolumeRecord]) -> TargetState:
        return TargetState(
            tid=export.tid,
            shard=export.shard,
            iqn=export.iqn,
            luns=tuple(self._backing_lun(lun, volumes[lun.volume]) for lun in export.luns),
            initiators=tuple(export.access.initiators),
            networks=tuple(export.access.networks),
            chap=_credentials(export.chap),
        )

    def _target_without_luns(self, export: ExportRecord) -> TargetState:
        return TargetState(export.tid, export.shard, export.iqn, luns=())

    def _backing_lun(self, lun: Lun, volume: VolumeRecord) -> BackingLun:
        return BackingLun(
            lun=lun.lun,
            address=address_of(volume, self._store),
            size_bytes=volume.size_bytes,
            read_only=lun.read_only,
            thin=volume.thin and volume.path is None,
            serial=naming.serial(volume.id),
            wwn=naming.wwn(volume.id),
            product_id=naming.STAND_IN_PRODUCT_ID if volume.stand_in else naming.PRODUCT_ID,
        )

    def _save_outcome(self, export_id: str, condition: Condition | None) -> None:
        with self._mutex:
            before = self._conditions.get(export_id)
            if condition is None:
                self._conditions.pop(export_id, None)
                self._served.add(export_id)
            else:
                self._conditions[export_id] = condition
                self._served.discard(export_id)
        if condition != before:
            if condition is None:
                log.info("export is back", export=export_id)
            else:
                log.error("export is offline", export=export_id, code=condition.code, detail=condition.detail)


def _credentials(chap: Credentials | None) -> engines.Credentials | None:
    if chap is None:
        return None
    return engines.Credentials(chap.username, chap.password, chap.mutual_username, chap.mutual_password)
