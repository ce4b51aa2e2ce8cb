"""A ledger that is missing while its volumes are there: it must not be taken for a new one."""

from __future__ import annotations

from pathlib import Path

from target_image.agent.errors import LedgerError
from target_image.agent.stores import Store

HEADER_BYTES = 100
"""Of a database file (SQLite's file format, section 1.3)."""


def check_not_lost(ledger_file: Path, store: Store) -> None:
    """Before the ledger is opened: SQLite takes a file without a header for a new database, and makes one of it.

    Raises:
        LedgerError: the store has volumes, and the file is missing or empty.
    """
    log = ledger_file.with_name(f"{ledger_file.name}-wal")
    if _size_bytes(ledger_file) >= HEADER_BYTES or _size_bytes(log) > 0 or not store.ids():
        return
    raise LedgerError(
        f"there are volumes in {store.location} and the ledger {ledger_file.name} is missing or empty, and with it "
        "who owns them and what opens them: restore it from a backup, or move the volumes away to begin anew"
    )


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
