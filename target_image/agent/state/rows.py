"""The ledger's rows as values. A record is what was promised; what is there now is another matter."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from target_image.agent.engines import Credentials
from target_image.api import requests, responses

_SOURCE: TypeAdapter[requests.Source] = TypeAdapter(requests.Source)


@dataclass(frozen=True)
class VolumeRecord:
    """One volume. `making` is unfinished work that a restart takes up again."""

    id: str
    size_bytes: int
    source: requests.Source
    owner: requests.Owner | None
    thin: bool
    created_at: datetime
    state: Literal["making", "ready", "failed", "deleting"] = "making"
    condition: responses.Condition | None = None
    grows_from: int | None = None
    """The size before a growth that is not finished yet."""
    path: str | None = None
    """A file outside the store, which belongs to someone else: never grown, copied over or deleted."""
    stand_in: bool = False
    revision: int = 1
    trashed_at: datetime | None = None

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'

    def to_row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "size_bytes": self.size_bytes,
            "source": self.source.model_dump_json(),
            "owner": None if self.owner is None else self.owner.model_dump_json(),
            "thin": self.thin,
            "state": self.state,
            "condition": None if self.condition is None else self.condition.model_dump_json(),
            "grows_from": self.grows_from,
            "path": self.path,
            "stand_in": self.stand_in,
            "revision": self.revision,
            "created_at": self.created_at.isoformat(),
            "trashed_at": None if self.trashed_at is None else self.trashed_at.isoformat(),
        }

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> VolumeRecord:
        return cls(
            id=row["id"],
            size_bytes=row["size_bytes"],
            source=_SOURCE.validate_json(row["source"]),
            owner=_owner(row),
            thin=bool(row["thin"]),
            state=row["state"],
            condition=None if row["condition"] is None else responses.Condition.model_validate_json(row["condition"]),
            grows_from=row["grows_from"],
            path=row["path"],
            stand_in=bool(row["stand_in"]),
            revision=row["revision"],
            created_at=datetime.fromisoformat(row["created_at"]),
            trashed_at=None if row["trashed_at"] is None else datetime.fromisoformat(row["trashed_at"]),
        )


@dataclass(frozen=True)
class ExportRecord:
    """One export. `tid` 0 is an export that the ledger has not seen yet."""

    id: str
    iqn: str
    shard: int
    luns: tuple[requests.Lun, ...]
    access: requests.Access
    chap: Credentials | None
    owner: requests.Owner | None
    created_at: datetime
    tid: int = 0
    deleting: bool = False
    revision: int = 1

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'

    @property
    def chap_names(self) -> list[str]:
        names = [] if self.chap is None else [self.chap.username, self.chap.mutual_username]
        return [name for name in names if name is not None]

    @property
    def volumes(self) -> set[str]:
        return {lun.volume for lun in self.luns}

    def with_tid(self, tid: int) -> ExportRecord:
        return replace(self, tid=tid)

    def to_row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "iqn": self.iqn,
            "tid": self.tid,
            "shard": self.shard,
            "access": self.access.model_dump_json(),
            "owner": None if self.owner is None else self.owner.model_dump_json(),
            "chap_username": self.chap and self.chap.username,
            "chap_password": self.chap and self.chap.password,
            "mutual_username": self.chap and self.chap.mutual_username,
            "mutual_password": self.chap and self.chap.mutual_password,
            "deleting": self.deleting,
            "revision": self.revision,
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_row(cls, row: sqlite3.Row, luns: Sequence[requests.Lun]) -> ExportRecord:
        chap = None
        if row["chap_username"] is not None:
            chap = Credentials(
                row["chap_username"], row["chap_password"], row["mutual_username"], row["mutual_password"]
            )
        return cls(
            id=row["id"],
            iqn=row["iqn"],
            tid=row["tid"],
            shard=row["shard"],
            luns=tuple(luns),
            access=requests.Access.model_validate_json(row["access"]),
            chap=chap,
            owner=_owner(row),
            deleting=bool(row["deleting"]),
            revision=row["revision"],
            created_at=datetime.fromisoformat(row["created_at"]),
        )


def _owner(row: sqlite3.Row) -> requests.Owner | None:
    return None if row["owner"] is None else requests.Owner.model_validate_json(row["owner"])
