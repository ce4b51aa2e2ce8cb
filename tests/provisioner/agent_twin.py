"""A tiny twin of a target's agent, in memory, which breaks as the API server's twin does."""

from __future__ import annotations

from datetime import UTC, datetime

from target_image.api import echo, fields, problems, requests, responses
from target_image.api.client import ApiProblem
from tests.provisioner.twins import Fuse


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


class Agent:
    """The calls of target_image.api.client.TargetClient, on dictionaries, with the agent's rules."""

    def __init__(self, fuse: Fuse | None = None, room_bytes: int = 2**40) -> None:
        self.fuse = fuse or Fuse()
        self.room_bytes = room_bytes
        self.volumes: dict[str, responses.Volume] = {}
        self.exports: dict[str, tuple[responses.Export, requests.ExportSpec]] = {}
        self.images: dict[str, requests.ImageSpec | None] = {"demo": None}
        self.working: set[str] = set()
        """Ids whose filling is not finished."""
        self.down = False

    def close(self) -> None: ...

    def ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        return self.fuse.around(lambda: self._ensure_volume(id, spec))

    def _ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        there = self.volumes.get(id)
        if there is not None:
            if there.trashed_at is not None:
                raise problem("not-ready", 409, "in the trash", retryable=True)
            if (echo.source(there.source), echo.owner(there.owner)) != (spec.source, spec.owner):
                raise problem("identity-conflict", 409)
            return there
        if isinstance(spec.source, requests.ImageSource) and spec.source.image not in self.images:
            raise problem("unknown-image", 422, f"there is no image {spec.source.image}")
        if spec.size_bytes > self.room_bytes:
            raise problem("no-space", 507, retryable=True)
        self.volumes[id] = responses.Volume(
            id=id,
            size_bytes=-(-spec.size_bytes // 2**20) * 2**20,
            allocated_bytes=0,
            source=spec.source.model_dump(),
            owner=spec.owner and spec.owner.model_dump(),
            thin=spec.thin,
            phase=fields.Phase.WORKING if id in self.working else fields.Phase.READY,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        return self.volumes[id]

    def grow_volume(self, id: str, size_bytes: int) -> responses.Volume:
        def effect() -> responses.Volume:
            there = self.volumes[id]
            self.volumes[id] = there.model_copy(update={"size_bytes": max(there.size_bytes, size_bytes)})
            return self.volumes[id]

        return self.fuse.around(effect)

    def get_volume(self, id: str) -> responses.Volume | None:
        return self.volumes.get(id)

    def list_volumes(self) -> list[responses.Volume]:
        return list(self.volumes.values())

    def delete_volume(self, id: str) -> None:
        def effect() -> None:
            if id in self.exports:
                raise problem("volume-exported", 409)
            self.volumes.pop(id, None)

        self.fuse.around(effect)

    def trash_volume(self, id: str) -> responses.Volume:
        return self.fuse.around(lambda: self._trash(id, datetime(2026, 1, 1, tzinfo=UTC)))

    def restore_volume(self, id: str) -> responses.Volume:
        return self.fuse.around(lambda: self._trash(id, None))

    def _trash(self, id: str, at: datetime | None) -> responses.Volume:
        if id in self.exports:
            raise problem("volume-exported", 409, retryable=True)
        if id not in self.volumes:
            raise problem("not-found", 404)
        self.volumes[id] = self.volumes[id].model_copy(update={"trashed_at": at})
        return self.volumes[id]

    def ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        return self.fuse.around(lambda: self._ensure_export(id, spec))

    def _ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        if id in self.exports and self.exports[id][1] != spec:
            raise problem("precondition-required", 428)
        return self._serve(id, spec)

    def change_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        return self.fuse.around(lambda: self._serve(id, spec))

    def _serve(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        if id not in self.volumes:
            raise problem("invalid", 422, "there is no volume to export")
        if self.volumes[id].trashed_at is not None:
            raise problem("not-ready", 409, "in the trash", retryable=True)
        sessions = self.exports[id][0].sessions if id in self.exports else 0
        chap = responses.ChapState(username=spec.chap.username) if spec.chap else None
        export = responses.Export(
            id=id,
            iqn=spec.iqn or f"iqn.2026-11.io.lundock:{id}",
            luns=[lun.model_dump() for lun in spec.luns],
            access=spec.access.model_dump(),
            chap=chap,
            owner=spec.owner and spec.owner.model_dump(),
            shard=0,
            portals=["0.0.0.0:3260"],
            phase=fields.Phase.READY,
            sessions=sessions,
        )
        self.exports[id] = (export, spec)
        return export

    def set_sessions(self, id: str, count: int) -> None:
        export, spec = self.exports[id]
        self.exports[id] = (export.model_copy(update={"sessions": count}), spec)

    def get_export(self, id: str) -> responses.Export | None:
        return self.exports[id][0] if id in self.exports else None

    def delete_export(self, id: str) -> None:
        def effect() -> None:
            if id in self.exports and self.exports[id][0].sessions:
                raise problem("in-use", 409, retryable=True)
            self.exports.pop(id, None)

        self.fuse.around(effect)

    def put_image(self, name: str, spec: requests.ImageSpec) -> None:
        self.images[name] = spec

    def capacity(self) -> responses.Capacity:
        return responses.Capacity(
            total_bytes=self.room_bytes,
            free_bytes=self.room_bytes,
            promised_bytes=0,
            available_bytes=self.room_bytes - sum(volume.size_bytes for volume in self.volumes.values()),
            overcommit_ratio=1,
        )
