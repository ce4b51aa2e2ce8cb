"""A row that is not of this version is an error that names it, and never repeats a value."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from target_image.agent.errors import LedgerError
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import Credentials
from tests.target_image import recorded

SECRET = "recorded-chap-password"

CHANGES = [
    ("ALTER TABLE volumes ADD COLUMN tier TEXT", "clone of the ledger's table volumes", "tier", "does not know"),
    ("ALTER TABLE luns ADD COLUMN weight INTEGER", "chap/1 of the ledger's table luns", "weight", "does not know"),
    ("ALTER TABLE exports ADD COLUMN qos TEXT", "chap of the ledger's table exports", "qos", "does not know"),
    ("ALTER TABLE images ADD COLUMN seen TEXT", "broken of the ledger's table images", "seen", "does not know"),
    (
        "UPDATE volumes SET owner = json_set(owner, '$.team', 'x') WHERE id = 'owned'",
        "owned of the ledger's table volumes",
        "owner.team",
        "does not know",
    ),
    (
        "UPDATE volumes SET source = '{\"type\": \"snapshot\"}' WHERE id = 'empty'",
        "empty of the ledger's table volumes",
        "source",
        "snapshot",
    ),
    ("UPDATE volumes SET owner = '{' WHERE id = 'owned'", "owned of the ledger's table volumes", "owner", "not JSON"),
    ("UPDATE volumes SET state = 'moving' WHERE id = 'empty'", "empty of", "state", "'ready'"),
    ("UPDATE exports SET access = '[]' WHERE id = 'open'", "open of the ledger's table exports", "access", ""),
    (
        "UPDATE exports SET chap_password = NULL WHERE id = 'chap'",
        "chap of the ledger's table exports",
        "chap.password",
        "string",
    ),
    ("UPDATE images SET spec = '{\"urls\": []}' WHERE name = 'mine'", "mine of", "digest", "required"),
]


@pytest.mark.parametrize(("change", "row", "field", "why"), CHANGES)
def test_the_field_that_cannot_be_read_is_named(tmp_path: Path, change: str, row: str, field: str, why: str) -> None:
    path = tmp_path / "ledger.sqlite"
    recorded.write_ledger(recorded.FOLDERS[0], path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    ledger = Ledger(path)
    reads: list[Callable[[], object]] = [ledger.volumes, ledger.exports, ledger.images]
    errors = [error for read in reads if (error := _error_of(read)) is not None]
    ledger.close()
    [error] = errors
    assert f"the row {row}" in str(error)
    assert f"its field {field} (" in str(error)
    assert why in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None or SECRET not in str(error.__cause__)


def _error_of(read: Callable[[], object]) -> LedgerError | None:
    try:
        read()
    except LedgerError as error:
        return error
    return None


def test_no_record_shows_a_password(tmp_path: Path) -> None:
    recorded.write_ledger(recorded.FOLDERS[0], tmp_path / "ledger.sqlite")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    exports = ledger.exports()
    ledger.close()
    assert Credentials("a", "b") == Credentials("a", "b")
    passwords = {export.chap.password for export in exports if export.chap is not None}
    assert SECRET in passwords
    assert not any(password in repr(exports) for password in passwords)
