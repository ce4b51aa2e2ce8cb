"""The ledger's rows as values. A record is what was promised; what is there now is another matter.

These types belong to the ledger alone: they import nothing from target_image.api, since a row outlives every request
and answer. A row has no version of its own. The version of the whole ledger (migrations.py) is the version of each row:
a migration rewrites all rows in one transaction, so that no reader has to know two shapes of one row.

What a row holds beyond this, or holds in another shape, is never guessed at: it is a LedgerError that names the table,
the row and the field, and never repeats the value, which may be a password.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from target_image.agent.errors import LedgerError

T = TypeVar("T")
UNKNOWN = "this agent does not know it"
_STRICT = ConfigDict(extra="forbid")


class Value(BaseModel):
    """What a column holds as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(Value):
    """Whom a volume or an export belongs to."""

    cluster: str
    release: str
    namespace: str = ""
    claim: str = ""
    claim_uid: str = ""


class EmptySource(Value):
    """A volume of zeros."""

    type: Literal["none"] = "none"


class ImageSource(Value):
    """A volume that starts as a copy of an image."""

    type: Literal["image"] = "image"
    image: str


class VolumeSource(Value):
    """A volume that starts as a copy of another one."""

    type: Literal["volume"] = "volume"
    volume: str
    allow_in_use: bool = False


Source = Annotated[EmptySource | ImageSource | VolumeSource, Field(discriminator="type")]


class Condition(Value):
    """Why something is not simply ready: a stable code, and a sentence that says what to do."""

    code: str
    detail: str


class Access(Value):
    """Who may log in, in canonical form: sorted, and one address instead of a network of one."""

    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


class ImageSpec(Value):
    """Where an image comes from. The digest is of the bytes at the URLs."""

    urls: tuple[str, ...]
    digest: str
    format: Literal["raw", "qcow2", "iso"] = "raw"
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Lun:
    """One LUN of an export."""

    lun: int
    volume: str
    read_only: bool = False


@dataclasses.dataclass(frozen=True)
class Credentials:
    """CHAP; the mutual pair is None for one-way. repr never shows a password."""

    username: str
    password: str = field(repr=False)
    mutual_username: str | None = None
    mutual_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, config=_STRICT)
class VolumeRecord:
    """One volume. `making` is unfinished work that a restart takes up again."""

    id: str
    size_bytes: int
    source: Source
    owner: Owner | None
    thin: bool
    created_at: datetime
    state: Literal["making", "ready", "failed", "deleting"] = "making"
    condition: Condition | None = None
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
        """Of its row.

        Raises:
            LedgerError: the row is not of this version.
        """
        content = dict(row)
        _decode("volumes", row["id"], content, ("source", "owner", "condition"))
        return _validate(_VOLUME, "volumes", row["id"], content)


@dataclass(frozen=True, config=_STRICT)
class ExportRecord:
    """One export. `tid` 0 is an export that the ledger has not seen yet."""

    id: str
    iqn: str
    shard: int
    luns: tuple[Lun, ...]
    access: Access
    chap: Credentials | None
    owner: Owner | None
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
    def from_row(cls, row: sqlite3.Row, luns: Iterable[sqlite3.Row]) -> ExportRecord:
        """Of its row and those of its LUNs.

        Raises:
            LedgerError: a row is not of this version.
        """
        content = dict(row)
        _decode("exports", row["id"], content, ("access", "owner"))
        chap = {
            "username": content.pop("chap_username"),
            "password": content.pop("chap_password"),
            "mutual_username": content.pop("mutual_username"),
            "mutual_password": content.pop("mutual_password"),
        }
        content["chap"] = None if chap["username"] is None else chap
        content["luns"] = tuple(_lun(lun) for lun in luns)
        return _validate(_EXPORT, "exports", row["id"], content)


def image_from_row(row: sqlite3.Row) -> tuple[str, ImageSpec]:
    """Name and spec of an image.

    Raises:
        LedgerError: the row is not of this version.
    """
    content = dict(row)
    name = content.pop("name")
    _decode("images", name, content, ("spec",))
    spec = content.pop("spec")
    if content:
        raise _unreadable("images", name, ", ".join(sorted(content)), UNKNOWN)
    return name, _validate(_IMAGE, "images", name, spec)


def _lun(row: sqlite3.Row) -> Lun:
    """SQLite holds the types of these columns (STRICT), and there are as many of these rows as of exports."""
    unknown = set(row.keys()) - _LUN_COLUMNS
    if unknown:
        raise _unreadable("luns", f"{row['export']}/{row['lun']}", ", ".join(sorted(unknown)), UNKNOWN)
    return Lun(row["lun"], row["volume"], bool(row["read_only"]))


def _decode(table: str, id: str, content: dict[str, Any], columns: Iterable[str]) -> None:
    for column in columns:
        if content[column] is None:
            continue
        try:
            content[column] = json.loads(content[column])
        except ValueError as error:
            raise _unreadable(table, id, column, "it is not JSON") from error


def _validate(adapter: TypeAdapter[T], table: str, id: str, content: Mapping[str, Any]) -> T:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        [first, *_] = error.errors(include_input=False, include_url=False)
        where = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        why = UNKNOWN if unknown else first["msg"]
        # Not chained: pydantic's error repeats the values, and a password may be one of them.
        raise _unreadable(table, id, where, why) from None


def _unreadable(table: str, id: str, where: str, why: str) -> LedgerError:
    return LedgerError(
        f"the row {id} of the ledger's table {table} cannot be read, because of its field {where} ({why}): "
        "run the agent that wrote it, or restore the ledger from a backup"
    )


_VOLUME = TypeAdapter(VolumeRecord)
_EXPORT = TypeAdapter(ExportRecord)
_LUN_COLUMNS = {"export", "lun", "volume", "read_only"}
_IMAGE = TypeAdapter(ImageSpec)
