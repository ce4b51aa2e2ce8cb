"""A tiny twin of a target's agent, in memory, which breaks as the API server's twin does.

test_agent_twin.py holds it to the real agent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from target_image.api import fields, problems, requests, responses
from target_image.api.client import ApiProblem
from tests.provisioner.twins import Fuse

MIB = 2**20
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
IQN_PREFIX = "iqn.2026-11.io.lundock"


def problem(code: str, status: int, detail: str = "", *, retryable: bool = False) -> ApiProblem:
    return ApiProblem(
        problems.Problem(
            type=f"https://lundock.io/problems/{code}",
            title=code,
            status=status,
            detail=detail or code,
            code=code,
            retryable=retryable,
        )
    )


class TargetCalls(Protocol):
    """What the provisioner calls of target_image.api.client.TargetClient. The client and the twin have all of it."""

    def ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume: ...
    def grow_volume(self, id: str, size_bytes: int) -> responses.Volume: ...
    def get_volume(self, id: str) -> responses.Volume | None: ...
    def list_volumes(self) -> list[responses.Volume]: ...
    def delete_volume(self, id: str) -> None: ...
    def trash_volume(self, id: str) -> responses.Volume: ...
    def restore_volume(self, id: str) -> responses.Volume: ...
    def ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export: ...
    def change_export(self, id: str, spec: requests.ExportSpec) -> responses.Export: ...
    def get_export(self, id: str) -> responses.Export | None: ...
    def delete_export(self, id: str) -> None: ...
    def put_image(self, name: str, spec: requests.ImageSpec) -> responses.Image: ...
    def capacity(self) -> responses.Capacity: ...
    def close(self) -> None: ...


class Agent:
    """The calls of target_image.api.client.TargetClient, on dictionaries, with the agent's rules."""

    def __init__(self, fuse: Fuse | None = None, room_bytes: int = 2**40) -> None:
        self.fuse = fuse or Fuse()
        self.room_bytes = room_bytes
        self.volumes: dict[str, responses.Volume] = {}
        """As they are stored: what answers say of exports and of the trash is added by `_answer`."""
        self.exports: dict[str, tuple[responses.Export, requests.ExportSpec]] = {}
        self.images: dict[str, requests.ImageSpec | None] = {"demo": None}
        self.working: set[str] = set()
        """Ids whose filling is not finished."""

    def close(self) -> None: ...

    def ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        return self.fuse.around(lambda: self._ensure_volume(id, spec))

    def grow_volume(self, id: str, size_bytes: int) -> responses.Volume:
        return self.fuse.around(lambda: self._grow_volume(id, size_bytes))

    def get_volume(self, id: str) -> responses.Volume | None:
        return self._answer(id) if id in self.volumes else None

    def list_volumes(self) -> list[responses.Volume]:
        return [self._answer(id) for id in sorted(self.volumes)]

    def delete_volume(self, id: str) -> None:
        self.fuse.around(lambda: self._delete_volume(id))

    def trash_volume(self, id: str) -> responses.Volume:
        return self.fuse.around(lambda: self._trash_volume(id))

    def restore_volume(self, id: str) -> responses.Volume:
        return self.fuse.around(lambda: self._restore_volume(id))

    def ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        return self.fuse.around(lambda: self._ensure_export(id, spec, may_change=False))

    def change_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        return self.fuse.around(lambda: self._change_export(id, spec))

    def get_export(self, id: str) -> responses.Export | None:
        return self.exports[id][0] if id in self.exports else None

    def delete_export(self, id: str) -> None:
        self.fuse.around(lambda: self._delete_export(id))

    def put_image(self, name: str, spec: requests.ImageSpec) -> responses.Image:
        return self.fuse.around(lambda: self._put_image(name, spec))

    def capacity(self) -> responses.Capacity:
        promised_bytes = sum(volume.size_bytes for volume in self.volumes.values())
        return responses.Capacity(
            total_bytes=self.room_bytes,
            free_bytes=self.room_bytes,
            promised_bytes=promised_bytes,
            available_bytes=max(0, self.room_bytes - promised_bytes),
            overcommit_ratio=1,
        )

    def set_sessions(self, id: str, count: int) -> None:
        """From now on the export has this many live sessions."""
        export, spec = self.exports[id]
        self.exports[id] = (export.model_copy(update={"sessions": count}), spec)

    def _ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        size_bytes = _round_up(spec.size_bytes)
        there = self.volumes.get(id)
        if there is None:
            self._make_volume(id, spec, size_bytes)
        else:
            if there.trashed_at is not None:
                raise _not_ready(f"volume {id} is in the trash")
            if _identity(there.source, there.owner, there.thin) != _identity(spec.source, spec.owner, spec.thin):
                raise problem("identity-conflict", 409, f"volume {id} exists with another source, owner or thin")
            if size_bytes > there.size_bytes:
                raise problem("precondition-required", 428, f"volume {id} is smaller")
        return self._answer(id)

    def _make_volume(self, id: str, spec: requests.VolumeSpec, size_bytes: int) -> None:
        if isinstance(spec.source, requests.ImageSource) and spec.source.image not in self.images:
            raise problem("unknown-image", 422, f"there is no image {spec.source.image}")
        if isinstance(spec.source, requests.VolumeSource):
            size_bytes = max(size_bytes, self._require_origin(id, spec.source).size_bytes)
        self._check_room(size_bytes)
        self.volumes[id] = responses.Volume.model_validate(
            {
                "id": id,
                "size_bytes": size_bytes,
                "allocated_bytes": 0,
                "source": spec.source.model_dump(),
                "owner": spec.owner and spec.owner.model_dump(),
                "thin": spec.thin,
                "phase": fields.Phase.WORKING if id in self.working else fields.Phase.READY,
                "created_at": EPOCH,
            }
        )

    def _require_origin(self, id: str, source: requests.VolumeSource) -> responses.Volume:
        origin = self.volumes.get(source.volume)
        if source.volume == id or origin is None:
            raise problem("invalid", 422, f"volume {id} cannot be a copy of {source.volume}")
        if origin.trashed_at is not None or origin.phase is not fields.Phase.READY:
            raise _not_ready(f"volume {source.volume}, which is to be copied, is not ready")
        if self._sessions_of(source.volume) and not source.allow_in_use:
            raise problem("in-use", 409, f"volume {source.volume}, which is to be copied, is in use", retryable=True)
        return origin

    def _grow_volume(self, id: str, size_bytes: int) -> responses.Volume:
        there = self._require_volume(id)
        if there.trashed_at is not None:
            raise _not_ready(f"volume {id} is in the trash")
        growth_bytes = _round_up(size_bytes) - there.size_bytes
        if growth_bytes > 0:
            if there.phase is not fields.Phase.READY:
                raise _not_ready(f"volume {id} is {there.phase}")
            if self._sessions_of(id):
                raise problem("in-use", 409, f"volume {id} cannot grow while it is in use", retryable=True)
            self._check_room(growth_bytes)
            self.volumes[id] = there.model_copy(update={"size_bytes": there.size_bytes + growth_bytes})
        return self._answer(id)

    def _delete_volume(self, id: str) -> None:
        self._check_not_exported(id)
        self.volumes.pop(id, None)

    def _trash_volume(self, id: str) -> responses.Volume:
        there = self._require_volume(id)
        if there.trashed_at is None:
            self._check_not_exported(id)
            if there.phase is not fields.Phase.READY:
                raise _not_ready(f"volume {id} is {there.phase}")
            self.volumes[id] = there.model_copy(update={"trashed_at": EPOCH})
        return self._answer(id)

    def _restore_volume(self, id: str) -> responses.Volume:
        self.volumes[id] = self._require_volume(id).model_copy(update={"trashed_at": None})
        return self._answer(id)

    def _change_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        if id not in self.exports:
            raise problem("not-found", 404, f"there is no export {id}")
        return self._ensure_export(id, spec, may_change=True)

    def _ensure_export(self, id: str, spec: requests.ExportSpec, *, may_change: bool) -> responses.Export:
        if id not in self.exports:
            self._check_exportable(lun.volume for lun in spec.luns)
            return self._serve(id, spec, spec.iqn or f"{IQN_PREFIX}:{id}", sessions=0)
        there, before = self.exports[id]
        if spec.owner != before.owner or spec.iqn not in (None, there.iqn):
            raise problem("identity-conflict", 409, f"export {id} exists with another owner or IQN")
        if _content(spec) == _content(before):
            return there
        if not may_change:
            raise problem("precondition-required", 428, f"export {id} exists, and this would change it")
        served = {lun.volume for lun in before.luns}
        self._check_exportable(lun.volume for lun in spec.luns if lun.volume not in served)
        is_disruptive = spec.chap != before.chap or any(lun not in spec.luns for lun in before.luns)
        if is_disruptive and there.sessions:
            raise problem("in-use", 409, f"export {id} cannot be changed while it is in use", retryable=True)
        return self._serve(id, spec, there.iqn, there.sessions)

    def _serve(self, id: str, spec: requests.ExportSpec, iqn: str, sessions: int) -> responses.Export:
        for other_id, (other, other_spec) in self.exports.items():
            if other_id != id and (other.iqn == iqn or _chap_names(other_spec) & _chap_names(spec)):
                raise problem("name-taken", 409, f"the IQN or CHAP name belongs to export {other_id}")
        luns, access, _ = _content(spec)
        export = responses.Export.model_validate(
            {
                "id": id,
                "iqn": iqn,
                "luns": [lun.model_dump() for lun in luns],
                "access": access.model_dump(),
                "chap": spec.chap and spec.chap.model_dump(include={"username", "mutual_username"}),
                "owner": spec.owner and spec.owner.model_dump(),
                "shard": 0,
                "portals": ["0.0.0.0:3260"],
                "phase": fields.Phase.READY,
                "sessions": sessions,
            }
        )
        self.exports[id] = (export, spec)
        return export

    def _delete_export(self, id: str) -> None:
        if id in self.exports and self.exports[id][0].sessions:
            raise problem("in-use", 409, f"export {id} is in use", retryable=True)
        self.exports.pop(id, None)

    def _put_image(self, name: str, spec: requests.ImageSpec) -> responses.Image:
        if self.images.get(name, spec) != spec:
            raise problem("identity-conflict", 409, f"the image {name} exists with other urls, digest or format")
        self.images[name] = spec
        known = responses.ImageSpec.model_validate(spec.model_dump(mode="json"))
        return responses.Image(name=name, spec=known, phase=fields.Phase.WORKING)

    def _answer(self, id: str) -> responses.Volume:
        stored = self.volumes[id]
        trashed = responses.Condition(code="trashed", detail="in the trash")
        update = {"exports": self._exports_of(id), "condition": trashed if stored.trashed_at else stored.condition}
        return stored.model_copy(update=update)

    def _require_volume(self, id: str) -> responses.Volume:
        if id not in self.volumes:
            raise problem("not-found", 404, f"there is no volume {id}")
        return self.volumes[id]

    def _exports_of(self, volume: str) -> list[str]:
        return sorted(
            id for id, (export, _) in self.exports.items() if any(lun.volume == volume for lun in export.luns)
        )

    def _sessions_of(self, volume: str) -> int:
        return sum(self.exports[id][0].sessions for id in self._exports_of(volume))

    def _check_not_exported(self, id: str) -> None:
        if self._exports_of(id):
            raise problem("volume-exported", 409, f"volume {id} is exported", retryable=True)

    def _check_exportable(self, volumes: Iterable[str]) -> None:
        for id in volumes:
            if id not in self.volumes:
                raise problem("invalid", 422, f"there is no volume {id} to export")
            if self.volumes[id].trashed_at is not None or self.volumes[id].phase is not fields.Phase.READY:
                raise _not_ready(f"volume {id} is in the trash or {self.volumes[id].phase}")

    def _check_room(self, size_bytes: int) -> None:
        if size_bytes > self.capacity().available_bytes:
            raise problem("no-space", 507, f"{size_bytes} bytes cannot be promised", retryable=True)


def _not_ready(detail: str) -> ApiProblem:
    return problem("not-ready", 409, detail, retryable=True)


def _round_up(size_bytes: int) -> int:
    return -(-size_bytes // MIB) * MIB


def _identity(
    source: requests.Source | responses.Source, owner: requests.Owner | responses.Owner | None, thin: bool
) -> tuple[object, ...]:
    """What a repeated request must have in common with the volume that is there."""
    return source.model_dump(exclude={"allow_in_use"}), owner and owner.model_dump(), thin


def _content(spec: requests.ExportSpec) -> tuple[list[requests.Lun], requests.Access, requests.Chap | None]:
    """What a change is seen by: LUNs by number, and the access lists sorted, an address without its /32 or /128."""
    networks = map(ipaddress.ip_network, spec.access.networks)
    access = requests.Access(
        initiators=sorted(set(spec.access.initiators)),
        networks=sorted({str(each.network_address) if each.num_addresses == 1 else str(each) for each in networks}),
    )
    return sorted(spec.luns, key=lambda lun: lun.lun), access, spec.chap


def _chap_names(spec: requests.ExportSpec) -> set[str | None]:
    return {spec.chap.username, spec.chap.mutual_username} - {None} if spec.chap else set()
