"""Exports as they are asked for: ensure, get, remove, and their sessions. The ledger is always written first."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from target_image.agent import naming, translate
from target_image.agent.engines import Engine, EngineCapabilities
from target_image.agent.errors import (
    IdentityConflict,
    Invalid,
    NotFound,
    NotReady,
    NotSupported,
)
from target_image.agent.service.locks import Locks, export_key, volume_key
from target_image.agent.service.revisions import Ensured, check_absent, check_match
from target_image.agent.service.serving import Serving
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger, now
from target_image.agent.state.rows import Access, ExportRecord
from target_image.api import requests, responses

log = structlog.get_logger()


class Exports:
    """Exports as they are asked for. Thread-safe: each call holds the locks of what it changes."""

    def __init__(self, settings: Settings, ledger: Ledger, engine: Engine, serving: Serving, locks: Locks) -> None:
        self._settings = settings
        self._ledger = ledger
        self._engine = engine
        self._serving = serving
        self._locks = locks

    def get(self, id: str) -> Ensured[responses.Export]:
        """One export.

        Raises:
            NotFound: there is no such export.
        """
        record = self._require_export(id)
        return Ensured(self._to_response(record, len(self._serving.sessions([record]))), record.etag, created=False)

    def list(self) -> list[responses.Export]:
        """Every export, by id."""
        records = self._ledger.exports()
        counts: dict[str, int] = {}
        for session in self._serving.sessions(records):
            counts[session.export] = counts.get(session.export, 0) + 1
        return [self._to_response(record, counts.get(record.id, 0)) for record in records]

    def sessions(self) -> Sequence[responses.Session]:
        """Every live session."""
        return self._serving.sessions(self._ledger.exports())

    def session_bytes(self, id: str) -> dict[int, tuple[int, int]]:
        """Bytes read and written by LUN, over the sessions that live now."""
        return self._serving.session_bytes(self._require_export(id))

    def ensure(
        self, id: str, spec: requests.ExportSpec, if_match: str | None = None, *, force: bool = False
    ) -> Ensured[responses.Export]:
        """Make the export, or find it as asked for, or change it.

        Other credentials, or a LUN taken away, wait until no session lives unless forced: QEMU keeps the old
        password, and a disk must not vanish under a VM. Initiators that may no longer log in are logged out.

        Args:
            id: the export's id.
            spec: what it must be.
            if_match: the If-Match of the request: a change has to name the revision that it changes.
            force: end live sessions instead of refusing.

        Raises:
            Invalid: it cannot be served; NotSupported where only this engine cannot.
            Conflict: IdentityConflict, NameTaken, NotReady, InUse or StartGrace.
            PreconditionRequired: a change without If-Match; PreconditionFailed for another revision.
            EngineFailed: the engine refused; the promise is kept, and the supervisor tries again.
        """
        check(spec, self._engine.capabilities)
        wanted_volumes = {lun.volume for lun in spec.luns}
        with self._hold(id, wanted_volumes):
            record = self._ledger.export(id)
            if record is None:
                check_absent("export", id, if_match)
                self._check_volumes(wanted_volumes)
                record = self._new_record(id, spec)
                self._serving.check(record)
                record = self._ledger.add_export(record)
                self._serving.serve(record)
                log.info("export made", export=id, iqn=record.iqn, shard=record.shard)
                return Ensured(self._to_response(record, sessions=0), record.etag, created=True)
            self._check_identity(record, spec)
            wanted = _with_spec(record, spec)
            if wanted != record:
                check_match("export", id, record.etag, if_match)
                self._check_volumes(wanted_volumes - record.volumes)
                record = self._apply_change(record, replace(wanted, revision=record.revision + 1), force=force)
            else:
                self._serving.serve(record)
        return self.get(id)

    def remove(self, id: str, *, force: bool = False) -> None:
        """Stop serving. Succeeds if it does not exist.

        Raises:
            InUse: sessions live, and it is not forced.
            StartGrace: initiators may still be on their way back, and it is not forced.
            EngineFailed: the engine could not take it down.
        """
        with self._hold(id, set()):
            record = self._ledger.export(id)
            if record is None:
                return
            if not force and not record.deleting:
                self._serving.require_idle(record, "delete")
            record = replace(record, deleting=True)
            self._ledger.save_export(record)
            self.finish(record)
        log.info("export deleted", export=id, forced=force)

    def finish(self, record: ExportRecord, *, replay: bool = False) -> None:
        """Bring the engine to what the record says, whatever a crash left. The caller holds the export's lock."""
        if record.deleting:
            self._serving.withdraw(record)
            self._ledger.forget_export(record.id)
        else:
            self._serving.serve(record, replay=replay)

    def end_session(self, id: str, session: int) -> None:
        """End one session. Succeeds if it has ended; an initiator that may log in will come back."""
        self._serving.end_sessions(self._require_export(id), only={session})

    @contextmanager
    def _hold(self, id: str, volumes: set[str]) -> Iterator[None]:
        """Hold the lock of the export and those of the volumes that it serves or is to serve."""
        while True:
            there = self._ledger.export(id)
            served = set() if there is None else there.volumes
            with self._locks.hold([export_key(id), *map(volume_key, served | volumes)]):
                again = self._ledger.export(id)
                if (set() if again is None else again.volumes) == served:
                    yield
                    return

    def _require_export(self, id: str) -> ExportRecord:
        record = self._ledger.export(id)
        if record is None:
            raise NotFound(f"there is no export {id}")
        return record

    def _new_record(self, id: str, spec: requests.ExportSpec) -> ExportRecord:
        return ExportRecord(
            id=id,
            iqn=spec.iqn or naming.iqn(self._settings.iqn_prefix, id),
            shard=self._ledger.emptiest_shard(self._settings.shards),
            luns=translate.luns_to_rows(spec.luns),
            access=translate.access_to_row(spec.access),
            chap=translate.chap_to_row(spec.chap),
            owner=translate.owner_to_row(spec.owner),
            created_at=now(),
        )

    def _apply_change(self, before: ExportRecord, after: ExportRecord, *, force: bool) -> ExportRecord:
        kept = {lun.lun: lun for lun in after.luns}
        self._serving.check(after)
        disruptive = before.chap != after.chap or any(kept.get(lun.lun) != lun for lun in before.luns)
        if disruptive and not force:
            self._serving.require_idle(before, "change the credentials or LUNs of")
        self._ledger.save_export(after)
        self._serving.serve(after)
        if disruptive:
            self._serving.end_sessions(after)
        elif before.access != after.access:
            self._end_sessions_without_access(after)
        log.info("export changed", export=after.id, revision=after.revision, forced=force)
        return after

    def _end_sessions_without_access(self, export: ExportRecord) -> None:
        """An access list is asked only at login, so sessions that lost access are logged out."""
        sessions = self._serving.sessions([export])
        lost = {session.session for session in sessions if not _may_log_in(session, export.access)}
        if lost:
            self._serving.end_sessions(export, only=lost)

    def _check_volumes(self, ids: set[str]) -> None:
        for id in sorted(ids):
            volume = self._ledger.volume(id)
            if volume is None:
                raise Invalid(f"there is no volume {id} to export: make it first")
            if volume.state != "ready" or volume.trashed_at is not None:
                state = "in the trash" if volume.trashed_at is not None else volume.state
                raise NotReady(f"volume {id} is {state}: repeat when it is ready", retry_after_s=1)

    def _check_identity(self, record: ExportRecord, spec: requests.ExportSpec) -> None:
        if record.deleting:
            raise NotReady(f"export {record.id} is being deleted: repeat the request in a moment", retry_after_s=1)
        if spec.iqn is not None and spec.iqn != record.iqn:
            raise IdentityConflict(f"export {record.id} exists with the IQN {record.iqn}: delete it first")
        if translate.owner_to_row(spec.owner) != record.owner:
            raise IdentityConflict(f"export {record.id} exists and belongs to another owner: choose another id")

    def _to_response(self, record: ExportRecord, sessions: int) -> responses.Export:
        return translate.export_to_response(
            record,
            portals=self._engine.portals(record.shard),
            phase=self._serving.phase(record),
            condition=self._serving.condition(record.id),
            sessions=sessions,
        )


def check(spec: requests.ExportSpec, can: EngineCapabilities) -> None:
    """Refuse what cannot be served. Pure.

    Raises:
        Invalid: the spec contradicts itself, or a network of it cannot be used.
        NotSupported: this engine cannot do it.
    """
    numbers = [lun.lun for lun in spec.luns]
    if len(set(numbers)) != len(numbers):
        raise Invalid(f"a LUN number is given twice: {sorted(numbers)}")
    access, chap = spec.access, spec.chap
    if access.initiators and not can.access_by_initiator:
        raise NotSupported("this engine has no access list by initiator: leave initiators empty")
    if access.networks and not can.access_by_network:
        raise NotSupported("this engine has no access list by network: leave networks empty, or use initiators")
    if access.initiators and access.networks and not can.access_by_both:
        raise NotSupported(
            "this engine lets in whoever is in one of both lists, not in both: give initiators or networks"
        )
    for network in access.networks:
        translate.network(network)
    if chap is None:
        return
    if (chap.mutual_username is None) != (chap.mutual_password is None):
        raise Invalid("mutual CHAP needs both mutual_username and mutual_password")
    if chap.mutual_password is not None:
        if not can.mutual_chap:
            raise NotSupported("this engine has no mutual CHAP: leave the mutual pair out")
        if chap.mutual_username == chap.username:
            raise Invalid("mutual_username must differ from username: both are accounts of one table")
        if chap.mutual_password.get_secret_value() == chap.password.get_secret_value():
            raise Invalid("mutual_password must differ from password (RFC 7143 section 9.2.1)")


def _may_log_in(session: responses.Session, access: Access) -> bool:
    """Whether each of its connections may be there; one whose address is not known may not."""
    if access.initiators:
        return session.initiator in access.initiators
    if not access.networks:
        return True
    networks = [translate.network(text) for text in access.networks]
    return bool(session.addresses) and all(
        any(ipaddress.ip_address(address) in network for network in networks) for address in session.addresses
    )


def _with_spec(record: ExportRecord, spec: requests.ExportSpec) -> ExportRecord:
    return replace(
        record,
        luns=translate.luns_to_rows(spec.luns),
        access=translate.access_to_row(spec.access),
        chap=translate.chap_to_row(spec.chap),
    )
