"""The desired state: what the target must serve, durable before anything is changed.

SQLite in WAL mode with synchronous=FULL: a committed row survives kill -9 of the agent and of the machine.
One agent at a time: an flock(2) on `ledger.lock` is held as long as the ledger is open. Passwords are in
it in clear, since CHAP needs them, so the file belongs to the agent alone (mode 0600).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lundock_common.quantity import MIB
from target_image.agent.errors import LedgerError, NameTaken, NoSpace
from target_image.agent.naming import MAX_TID
from target_image.agent.state import migrations, rows
from target_image.agent.state.rows import ExportRecord, VolumeRecord

RESERVE_BYTES = 4 * MIB
"""Preallocated beside the ledger and given up when the disk is full, so that it can still be emptied."""


class Ledger:
    """Open it, use it from any thread, close it.

    Raises:
        LedgerError: another agent has it, a newer one wrote it, or it is damaged or cannot be locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = _take_lock(path.with_suffix(".lock"))
        try:
            self._connection = _open_database(path)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._reserve_space()

    def close(self) -> None:
        with self._mutex:
            self._connection.close()
            os.close(self._lock_file)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, durable when it returns.

        Raises:
            NoSpace: the disk is full.
        """
        with self._mutex:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    self._reserve_file.unlink(missing_ok=True)
                    raise NoSpace(
                        f"the ledger {self._path} could not be written: its disk is full. "
                        "Its reserve was given up: delete volumes now, then repeat the request"
                    ) from error
                raise

    def volumes(self) -> list[VolumeRecord]:
        """Every volume, by id."""
        return [VolumeRecord.from_row(row) for row in self._query("SELECT * FROM volumes ORDER BY id")]

    def volume(self, id: str) -> VolumeRecord | None:
        """The volume, or None."""
        found = self._query("SELECT * FROM volumes WHERE id = ?", id)
        return VolumeRecord.from_row(found[0]) if found else None

    def promised_bytes(self) -> int:
        """What all volumes together may grow to; those that live elsewhere take no space here."""
        [row] = self._query("SELECT COALESCE(SUM(size_bytes), 0) FROM volumes WHERE path IS NULL")
        return int(row[0])

    def copies_of(self, id: str) -> list[str]:
        """Ids of the volumes that are still being copied from this one."""
        copies = self._query(
            "SELECT id FROM volumes WHERE state = 'making' AND json_extract(source, '$.volume') = ? ORDER BY id", id
        )
        return [row[0] for row in copies]

    def add_volume(self, record: VolumeRecord) -> None:
        """Write a new volume.

        Raises:
            NoSpace: the disk is full.
        """
        self._insert("volumes", record.to_row())

    def save_volume(self, record: VolumeRecord) -> None:
        """Write a volume that exists.

        Raises:
            NoSpace: the disk is full.
        """
        self._update("volumes", record.to_row())

    def forget_volume(self, id: str) -> None:
        """Delete its row. Succeeds if there is none."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM volumes WHERE id = ?", (id,))

    def exports(self) -> list[ExportRecord]:
        """Every export with its LUNs, by id."""
        luns: dict[str, list[sqlite3.Row]] = {}
        with self._mutex:
            for row in self._query("SELECT * FROM luns ORDER BY export, lun"):
                luns.setdefault(row["export"], []).append(row)
            exports = self._query("SELECT * FROM exports ORDER BY id")
        return [ExportRecord.from_row(row, luns.get(row["id"], [])) for row in exports]

    def export_ids(self) -> list[str]:
        return [row["id"] for row in self._query("SELECT id FROM exports ORDER BY id")]

    def export(self, id: str) -> ExportRecord | None:
        """The export with its LUNs, or None."""
        with self._mutex:
            found = self._query("SELECT * FROM exports WHERE id = ?", id)
            if not found:
                return None
            luns = self._query("SELECT * FROM luns WHERE export = ? ORDER BY lun", id)
        return ExportRecord.from_row(found[0], luns)

    def exports_of(self, volume: str) -> list[str]:
        """Ids of the exports that serve a volume."""
        return [row[0] for row in self._query("SELECT DISTINCT export FROM luns WHERE volume = ? ORDER BY 1", volume)]

    def exports_by_volume(self) -> dict[str, list[str]]:
        """Ids of the exports that serve each volume; volumes that none serves are left out."""
        exports: dict[str, list[str]] = {}
        for row in self._query("SELECT DISTINCT volume, export FROM luns ORDER BY 1, 2"):
            exports.setdefault(row[0], []).append(row[1])
        return exports

    def emptiest_shard(self, shards: int) -> int:
        """The first of so many shards that has the fewest exports."""
        counts = {row[0]: row[1] for row in self._query("SELECT shard, COUNT(*) FROM exports GROUP BY shard")}
        return min(range(shards), key=lambda shard: counts.get(shard, 0))

    def add_export(self, record: ExportRecord) -> ExportRecord:
        """Add it with a tid that was never given out before.

        Raises:
            NameTaken: its IQN or a CHAP name belongs to another export.
            NoSpace: the disk is full.
        """
        with self.transaction() as connection:
            tid = connection.execute("UPDATE target SET next_tid = next_tid + 1 RETURNING next_tid - 1").fetchone()[0]
            record = record.with_tid(tid)
            self._check_names(connection, record)
            self._insert("exports", record.to_row(), connection)
            self._write_luns(connection, record)
        return record

    def save_export(self, record: ExportRecord) -> None:
        """Write an export that exists.

        Raises:
            NameTaken: its IQN or a CHAP name belongs to another export.
            NoSpace: the disk is full.
        """
        with self.transaction() as connection:
            self._check_names(connection, record)
            self._update("exports", record.to_row(), connection)
            self._write_luns(connection, record)

    def forget_export(self, id: str) -> None:
        """Delete its row and those of its LUNs. Succeeds if there is none."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM exports WHERE id = ?", (id,))

    def put_image(self, name: str, spec: rows.ImageSpec) -> None:
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO images VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET spec = excluded.spec",
                (name, spec.model_dump_json()),
            )

    def image(self, name: str) -> rows.ImageSpec | None:
        """What was put under this name, or None."""
        found = self._query("SELECT * FROM images WHERE name = ?", name)
        return rows.image_from_row(found[0])[1] if found else None

    def images(self) -> dict[str, rows.ImageSpec]:
        """What was put under /v1/images, by name."""
        return dict(map(rows.image_from_row, self._query("SELECT * FROM images ORDER BY name")))

    def delete_image(self, name: str) -> None:
        with self.transaction() as connection:
            connection.execute("DELETE FROM images WHERE name = ?", (name,))

    def volumes_from_image(self, name: str) -> list[str]:
        """Ids of the volumes that are still to be filled from an image."""
        waiting = self._query(
            "SELECT id FROM volumes WHERE state = 'making' AND json_extract(source, '$.image') = ? ORDER BY id", name
        )
        return [row[0] for row in waiting]

    @property
    def _reserve_file(self) -> Path:
        return self._path.with_suffix(".reserve")

    def _reserve_space(self) -> None:
        try:
            with self._reserve_file.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._reserve_file.unlink(missing_ok=True)  # a full disk now: nothing to reserve until volumes went

    def _query(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._mutex:
            return self._connection.execute(sql, values).fetchall()

    def _insert(self, table: str, row: dict[str, Any], connection: sqlite3.Connection | None = None) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._write(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()), connection)  # noqa: S608

    def _update(self, table: str, row: dict[str, Any], connection: sqlite3.Connection | None = None) -> None:
        changes = ", ".join(f"{name} = ?" for name in row)
        self._write(f"UPDATE {table} SET {changes} WHERE id = ?", [*row.values(), row["id"]], connection)  # noqa: S608

    def _write(self, sql: str, values: list[Any], connection: sqlite3.Connection | None) -> None:
        if connection is not None:
            connection.execute(sql, values)
            return
        with self.transaction() as own:
            own.execute(sql, values)

    def _write_luns(self, connection: sqlite3.Connection, record: ExportRecord) -> None:
        connection.execute("DELETE FROM luns WHERE export = ?", (record.id,))
        connection.executemany(
            "INSERT INTO luns (export, lun, volume, read_only) VALUES (?, ?, ?, ?)",
            [(record.id, lun.lun, lun.volume, lun.read_only) for lun in record.luns],
        )

    def _check_names(self, connection: sqlite3.Connection, record: ExportRecord) -> None:
        for row in connection.execute("SELECT id FROM exports WHERE iqn = ? AND id != ?", (record.iqn, record.id)):
            raise NameTaken(f"the IQN {record.iqn} belongs to export {row[0]}: choose another, or delete that export")
        for name in record.chap_names:
            others = connection.execute(
                "SELECT id FROM exports WHERE (chap_username = ?1 OR mutual_username = ?1) AND id != ?2",
                (name, record.id),
            )
            for row in others:
                raise NameTaken(
                    f"the CHAP name {name} belongs to export {row[0]}: tgt's accounts are global, "
                    "so every export needs names of its own (its id is a good one)"
                )


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LedgerError(
            f"another agent holds {path}: one data folder serves one agent; stop the other one"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise LedgerError(
            f"{path} cannot be locked ({error.strerror}): put the data folder on a file system that can lock files"
        ) from error
    return descriptor


def _open_database(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _check_pages(connection, path)
        migrations.migrate(connection, path)
        _choose_first_tid(connection)
    except LedgerError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LedgerError(
            f"the ledger {path} cannot be read ({error}): restore it from a backup, or move it away to begin anew"
        ) from error
    return connection


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    [damage] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if damage != "ok":
        raise LedgerError(
            f"the ledger {path} is damaged ({damage}): restore it from a backup, or move it away to begin anew"
        )


def _choose_first_tid(connection: sqlite3.Connection) -> None:
    """Of a new ledger. tgt builds one of a LUN's identifiers from the tid: a random base keeps two targets apart."""
    if connection.execute("SELECT COUNT(*) FROM target").fetchone()[0] == 0:
        base = secrets.randbelow(MAX_TID // 2) + 1
        connection.execute("INSERT INTO target (next_tid) VALUES (?)", (base,))


def now() -> datetime:
    """The time as rows have it."""
    return datetime.now(UTC)
