"""From the shape of any earlier ledger to today's, one version at a time.

The version is SQLite's user_version, and the number of migrations that were applied. It is the version of every row
too: a migration that changes the shape of a row (a column, or the JSON in one) rewrites all rows of the table in the
same transaction. A ledger that a newer agent wrote is refused: its rows would be read wrongly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from target_image.agent.errors import LedgerError

Migration = str | Callable[[sqlite3.Connection], None]
"""An SQL script, or a function for what SQL cannot say, such as another shape of a JSON column.

It runs inside a transaction, which it must neither begin nor end.
"""

MIGRATIONS: Sequence[Migration] = (
    """
    CREATE TABLE target (next_tid INTEGER NOT NULL);
    CREATE TABLE volumes (
        id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, source TEXT NOT NULL, owner TEXT, thin INTEGER NOT NULL,
        state TEXT NOT NULL, condition TEXT, grows_from INTEGER, path TEXT, stand_in INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, trashed_at TEXT
    ) STRICT;
    CREATE TABLE exports (
        id TEXT PRIMARY KEY, iqn TEXT NOT NULL UNIQUE, tid INTEGER NOT NULL UNIQUE, shard INTEGER NOT NULL,
        access TEXT NOT NULL, owner TEXT, chap_username TEXT UNIQUE, chap_password TEXT,
        mutual_username TEXT UNIQUE, mutual_password TEXT, deleting INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE luns (
        export TEXT NOT NULL REFERENCES exports(id) ON DELETE CASCADE, lun INTEGER NOT NULL,
        volume TEXT NOT NULL REFERENCES volumes(id), read_only INTEGER NOT NULL, PRIMARY KEY (export, lun)
    ) STRICT;
    CREATE INDEX luns_by_volume ON luns (volume);
    CREATE TABLE images (name TEXT PRIMARY KEY, spec TEXT NOT NULL) STRICT;
    """,
)
"""One for each version. Append, never edit: ledgers of every earlier version exist."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the ledger to the newest version. A migration that fails leaves the version before it.

    Args:
        connection: the open ledger, in autocommit mode.
        path: its file, for messages.
        migrations: what leads to each version, from version 1 on.

    Raises:
        LedgerError: the ledger is of a newer version.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise LedgerError(
            f"the ledger {path} has version {version}, and this agent knows versions up to {len(migrations)}: "
            "run the newer agent that wrote it, or restore a backup made before the upgrade"
        )
    for number, migration in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if callable(migration):
                migration(connection)
            else:
                for statement in _statements(migration):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _statements(script: str) -> list[str]:
    """The script's statements: executescript() would end the transaction that they belong to."""
    statements, statement = [], ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement) and statement.strip(" ;\n"):
            statements.append(statement)
            statement = ""
    return statements
