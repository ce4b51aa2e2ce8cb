"""Ledgers of other versions: an older one migrates whole or not at all, a newer one is refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from target_image.agent.errors import LedgerError
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.migrations import MIGRATIONS, migrate
from tests.target_image import recorded

NEWEST = len(MIGRATIONS)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A recorded ledger, which is of an earlier version or of this one."""
    recorded.write_ledger(recorded.FOLDERS[0], tmp_path / "ledger.sqlite")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as connection:
        migrate(connection, tmp_path)
        yield connection


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(LedgerError, match=f"has version {NEWEST + 1}.*run the newer agent"):
        Ledger(path)
    with closing(sqlite3.connect(path)) as connection:
        assert version(connection) == NEWEST + 1


def test_a_script_migrates_every_row(connection: sqlite3.Connection, tmp_path: Path) -> None:
    script = """
    ALTER TABLE volumes ADD COLUMN note TEXT NOT NULL DEFAULT 'old; and kept';
    UPDATE volumes SET note = 'new; and kept' WHERE id = 'empty';
    """
    migrate(connection, tmp_path, (*MIGRATIONS, script))
    found = dict(connection.execute("SELECT id, note FROM volumes"))
    assert (found["empty"], found["owned"]) == ("new; and kept", "old; and kept")
    assert version(connection) == NEWEST + 1


def test_a_function_gives_the_json_of_a_column_another_shape(connection: sqlite3.Connection, tmp_path: Path) -> None:
    def rename_claim(connection: sqlite3.Connection) -> None:
        for id, text in connection.execute("SELECT id, owner FROM volumes WHERE owner IS NOT NULL").fetchall():
            owner = json.loads(text)
            owner["pvc"] = owner.pop("claim")
            connection.execute("UPDATE volumes SET owner = ? WHERE id = ?", (json.dumps(owner), id))

    migrate(connection, tmp_path, (*MIGRATIONS, rename_claim))
    [text] = connection.execute("SELECT owner FROM volumes WHERE id = 'owned'").fetchone()
    assert json.loads(text)["pvc"] == "vm-disk"
    migrate(connection, tmp_path, (*MIGRATIONS, rename_claim))  # once only: a second time it would fail


def test_a_migration_that_fails_changes_nothing(connection: sqlite3.Connection, tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE luns")
        raise RuntimeError("in the middle")

    for migration in ("DROP TABLE luns; NONSENSE;", fail):
        with pytest.raises((sqlite3.OperationalError, RuntimeError)):
            migrate(connection, tmp_path, (*MIGRATIONS, migration))
        assert version(connection) == NEWEST
        assert connection.execute("SELECT COUNT(*) FROM luns").fetchone()[0] > 0
