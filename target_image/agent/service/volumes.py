"""Volumes as they are asked for: ensure, get, trash, remove. Idempotent, and the ledger is always written first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from lundock_common.quantity import MIB
from target_image.agent import translate
from target_image.agent.engines import Engine
from target_image.agent.errors import (
    IdentityConflict,
    InUse,
    Invalid,
    NotFound,
    NotReady,
    NotSupported,
    VolumeExported,
)
from target_image.agent.images.library import Images
from target_image.agent.service.capacity import Capacity
from target_image.agent.service.filling import Filling
from target_image.agent.service.locks import Locks, export_key, volume_key
from target_image.agent.service.revisions import Ensured, check_absent, check_match
from target_image.agent.service.serving import Serving
from target_image.agent.service.storing import Storing
from target_image.agent.state.ledger import Ledger, now
from target_image.agent.state.rows import EmptySource, ImageSource, Source, VolumeRecord, VolumeSource
from target_image.agent.stores import Store
from target_image.api import requests, responses

log = structlog.get_logger()

QUICK_COPY_S = 0.25
"""How long a PUT waits for a copy before it answers 202: a reflink takes milliseconds."""


class Volumes:
    """Volumes as they are asked for. Thread-safe: each call holds the locks of what it changes."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        engine: Engine,
        images: Images,
        capacity: Capacity,
        serving: Serving,
        storing: Storing,
        filling: Filling,
        locks: Locks,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._engine = engine
        self._images = images
        self._capacity = capacity
        self._serving = serving
        self._storing = storing
        self._filling = filling
        self._locks = locks

    def get(self, id: str) -> Ensured[responses.Volume]:
        """One volume.

        Raises:
            NotFound: there is no such volume.
        """
        record = self._ledger.volume(id)
        if record is None:
            raise NotFound(f"there is no volume {id}")
        return Ensured(self._to_response(record, self._ledger.exports_of(id)), record.etag, created=False)

    def list(self) -> list[responses.Volume]:
        """Every volume, by id."""
        exports = self._ledger.exports_by_volume()
        return [self._to_response(record, exports.get(record.id, [])) for record in self._ledger.volumes()]

    def ensure(self, id: str, spec: requests.VolumeSpec, if_match: str | None = None) -> Ensured[responses.Volume]:
        """Make the volume, or find it as asked for, or grow it.

        Args:
            id: the volume's id.
            spec: what it must be; its size is a minimum.
            if_match: the If-Match of the request: a growth has to name the revision that it changes.

        Raises:
            Invalid: it cannot be made, or NotSupported, UnknownImage.
            Conflict: IdentityConflict, NotReady or InUse.
            ImageFailed: the image that it is a copy of could not be fetched a moment ago.
            PreconditionRequired: a growth without If-Match; PreconditionFailed for another revision.
            NoSpace: it may not be promised, or cannot be written.
        """
        size_bytes = -(-spec.size_bytes // MIB) * MIB
        with self._hold(id):
            record = self._ledger.volume(id)
            if record is None:
                check_absent("volume", id, if_match)
                record = self._promise(id, spec, size_bytes)
                created = True
            else:
                created = False
                self._check_identity(record, spec)
                if record.state == "failed":
                    record = replace(record, state="making", condition=None)
                    self._ledger.save_volume(record)
                if size_bytes > record.size_bytes:
                    check_match("volume", record.id, record.etag, if_match)
                    record = self._grow(record, size_bytes)
            self._storing.finish(record)
        if record.state == "making" and not isinstance(record.source, EmptySource):
            self._filling.enqueue(id, wait_s=QUICK_COPY_S)
        return self.get(id)._replace(created=created)

    def adopt(self, id: str, path: Path, *, size_bytes: int) -> responses.Volume:
        """Serve a file of the host as a volume: as it is, never grown, filled or deleted. Not in the API."""
        with self._hold(id):
            record = self._ledger.volume(id)
            if record is None or record.path != str(path) or record.size_bytes != size_bytes:
                adopted = VolumeRecord(
                    id=id,
                    size_bytes=size_bytes,
                    source=EmptySource(),
                    owner=None,
                    thin=False,
                    created_at=now(),
                    state="ready",
                    path=str(path),
                )
                if record is None:
                    self._ledger.add_volume(adopted)
                else:
                    self._ledger.save_volume(adopted)
        return self.get(id).answer

    def trash(self, id: str) -> Ensured[responses.Volume]:
        """Put the volume aside with its data.

        Raises:
            NotFound: there is no such volume, or it is being deleted.
            NotReady: it is still being made, or failed.
            VolumeExported: an export serves it.
        """
        with self._hold(id):
            record = self._require_volume(id)
            if record.trashed_at is None:
                self._check_not_exported(record, "put into the trash")
                if record.state != "ready":
                    raise NotReady(f"volume {id} is {record.state}: wait until it is ready, or delete it")
                record = replace(record, trashed_at=now(), revision=record.revision + 1)
                self._ledger.save_volume(record)
            self._storing.finish(record)
        return self.get(id)

    def restore(self, id: str) -> Ensured[responses.Volume]:
        """Take the volume out of the trash.

        Raises:
            NotFound: there is no such volume, or it is being deleted.
        """
        with self._hold(id):
            record = self._require_volume(id)
            if record.trashed_at is not None:
                record = replace(record, trashed_at=None, revision=record.revision + 1)
                self._ledger.save_volume(record)
            self._storing.finish(record)
        return self.get(id)

    def remove(self, id: str) -> None:
        """Delete the volume with its data. Succeeds if it does not exist.

        Raises:
            VolumeExported: an export serves it.
            NotReady: it is being copied into another volume.
        """
        with self._hold(id):
            record = self._ledger.volume(id)
            if record is None:
                return
            self._check_not_exported(record, "deleted")
            self._check_not_copied(record)
            record = replace(record, state="deleting")
            self._ledger.save_volume(record)
        self._filling.cancel(id)
        with self._hold(id):
            self._storing.finish(record)
        log.info("volume deleted", volume=id)

    @contextmanager
    def _hold(self, id: str) -> Iterator[None]:
        """Hold the lock of the volume and those of the exports that serve it."""
        while True:
            exports = self._ledger.exports_of(id)
            with self._locks.hold([volume_key(id), *map(export_key, exports)]):
                if self._ledger.exports_of(id) == exports:
                    yield
                    return

    def _require_volume(self, id: str) -> VolumeRecord:
        record = self._ledger.volume(id)
        if record is None or record.state == "deleting":
            raise NotFound(f"there is no volume {id}")
        return record

    def _promise(self, id: str, spec: requests.VolumeSpec, size_bytes: int) -> VolumeRecord:
        source = translate.source_to_row(spec.source)
        if isinstance(source, ImageSource):
            self._start_fetching(source.image)
        if isinstance(source, VolumeSource):
            self._check_origin(id, source)
        record = VolumeRecord(
            id=id,
            size_bytes=size_bytes,
            source=source,
            owner=translate.owner_to_row(spec.owner),
            thin=spec.thin,
            created_at=now(),
        )
        with self._capacity.admit(id, size_bytes, needed_now_bytes=0 if spec.thin else size_bytes):
            self._ledger.add_volume(record)
        log.info("volume promised", volume=id, size_bytes=size_bytes, source=spec.source.type)
        return record

    def _grow(self, record: VolumeRecord, size_bytes: int) -> VolumeRecord:
        if record.path is not None:
            raise NotSupported(f"volume {record.id} is the file {record.path}: whoever owns the file has to grow it")
        if record.state != "ready":
            raise NotReady(f"volume {record.id} is {record.state}: it can grow when it is ready")
        sessions = self._serving.volume_sessions(record.id)
        if sessions and self._engine.capabilities.grow == "detached":
            raise InUse(
                f"volume {record.id} cannot grow while {sessions[0].initiator} is logged in: {self._engine.name} tells "
                "no initiator that a disk grew; stop the VM (log out), repeat the request, then log in again",
                sessions=sessions,
                retry_after_s=10,
            )
        growth_bytes = size_bytes - record.size_bytes
        grown = replace(record, size_bytes=size_bytes, grows_from=record.size_bytes, revision=record.revision + 1)
        with self._capacity.admit(record.id, growth_bytes, needed_now_bytes=0 if record.thin else growth_bytes):
            self._ledger.save_volume(grown)
        self._storing.finish(grown)
        for export_id in self._ledger.exports_of(record.id):
            export = self._ledger.export(export_id)
            if export is not None and not export.deleting:
                self._serving.serve(export)
        log.info("volume grown", volume=record.id, size_bytes=size_bytes)
        return replace(grown, grows_from=None)

    def _start_fetching(self, image: str) -> None:
        """The volume waits for it in the background.

        Raises:
            UnknownImage: there is no such image.
            ImageFailed: it could not be made a moment ago.
        """
        self._images.find_or_start_fetch(image)

    def _check_origin(self, id: str, source: VolumeSource) -> None:
        """Whether the volume that is to be copied can be copied now."""
        if source.volume == id:
            raise Invalid(f"volume {id} cannot be a copy of itself")
        origin = self._ledger.volume(source.volume)
        if origin is None:
            raise Invalid(f"volume {id} shall be a copy of {source.volume}, which does not exist")
        if origin.state != "ready" or origin.trashed_at is not None:
            raise NotReady(f"volume {id} shall be a copy of {source.volume}, which is not ready: repeat when it is")
        sessions = self._serving.volume_sessions(origin.id)
        if sessions and not source.allow_in_use:
            raise InUse(
                f"volume {source.volume} cannot be copied while {sessions[0].initiator} is logged in: log it out, "
                "or ask with allow_in_use for a copy as after a power failure",
                sessions=sessions,
                retry_after_s=10,
            )
        if sessions and self._store.clone != "reflink":
            raise NotSupported(
                f"volume {source.volume} is in use, and this file system cannot copy it at one instant: "
                "log its initiators out, or put the data folder on xfs or btrfs with reflink"
            )

    def _check_identity(self, record: VolumeRecord, spec: requests.VolumeSpec) -> None:
        if record.state == "deleting":
            raise NotReady(f"volume {record.id} is being deleted: repeat the request in a moment")
        if record.trashed_at is not None:
            raise NotReady(f"volume {record.id} is in the trash: restore it, or delete it to begin anew")
        source, owner = translate.source_to_row(spec.source), translate.owner_to_row(spec.owner)
        asked = {"source": _identity(source), "owner": owner, "thin": spec.thin}
        there = {"source": _identity(record.source), "owner": record.owner, "thin": record.thin}
        differing = [name for name in asked if asked[name] != there[name]]
        if differing:
            raise IdentityConflict(
                f"volume {record.id} exists with another {', '.join(differing)}: choose another id, "
                "or delete the volume first if its data is not needed"
            )

    def _check_not_exported(self, record: VolumeRecord, attempt: str) -> None:
        exports = self._ledger.exports_of(record.id)
        if exports:
            raise VolumeExported(
                f"volume {record.id} cannot be {attempt} while it is exported by {', '.join(exports)}: "
                "delete the export first"
            )

    def _check_not_copied(self, record: VolumeRecord) -> None:
        copies = self._ledger.copies_of(record.id)
        if copies:
            raise NotReady(f"volume {record.id} is being copied into {', '.join(copies)}: repeat when that is done")

    def _to_response(self, record: VolumeRecord, exports: Sequence[str]) -> responses.Volume:
        progress = self._filling.progress(record) if record.state == "making" else None
        return translate.volume_to_response(
            record,
            allocated_bytes=0 if record.path is not None else self._store.allocated_bytes(record.id),
            exports=exports,
            bytes_done=progress.bytes_done if progress else 0,
            bytes_total=progress.bytes_total if progress else 0,
        )


def _identity(source: Source) -> tuple[str, ...]:
    if isinstance(source, ImageSource):
        return (source.type, source.image)
    if isinstance(source, VolumeSource):
        return (source.type, source.volume)
    return (source.type,)
