"""Backup and restore of a data folder: the ledger and every volume's bytes.

    <folder>/ledger.sqlite      a consistent copy, by SQLite's backup API
    <folder>/volumes/<id>.raw   sparse, or sharing blocks where the file systems allow it

The ledger holds CHAP passwords in clear, so a backup is as secret as the data folder: mode 0700.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from target_image.agent.backing import Address
from target_image.agent.durable import sync
from target_image.agent.errors import Conflict, LedgerError
from target_image.agent.state.ledger import Ledger
from target_image.agent.stores.sparse_file import SparseFileStore

FOLDERS = ("volumes", "trash")


def backup(data_dir: Path, folder: Path) -> int:
    """Copy everything into a new folder while no agent runs.

    Returns:
        The number of volumes.

    Raises:
        LedgerError: There is no ledger, or an agent holds it: its volumes would be copied in the middle of writes.
        Conflict: The folder is not empty.
    """
    if not (data_dir / "ledger.sqlite").exists():
        raise LedgerError(f"there is no ledger in {data_dir}: give the agent's --data-dir")
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: give a new folder for the backup")
    ledger = Ledger(data_dir / "ledger.sqlite")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        copied = _copy_volumes(ledger, data_dir, folder)
        with (
            closing(sqlite3.connect(data_dir / "ledger.sqlite")) as source,
            closing(sqlite3.connect(folder / "ledger.sqlite")) as target,
        ):
            source.backup(target)
        (folder / "ledger.sqlite").chmod(0o600)
        sync(folder)
    finally:
        ledger.close()
    return copied


def restore(folder: Path, data_dir: Path) -> int:
    """Bring a backup into an empty data folder. An older ledger migrates here.

    Returns:
        The number of volumes.

    Raises:
        LedgerError: There is no backup, or its ledger is newer than this agent or cannot be read.
        Conflict: The data folder has a ledger already, which would be lost.
    """
    if (data_dir / "ledger.sqlite").exists():
        raise Conflict(f"{data_dir} has a ledger already: move it away, or give another --data-dir")
    if not (folder / "ledger.sqlite").exists():
        raise LedgerError(f"there is no backup in {folder}: it has no ledger.sqlite")
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = data_dir / "ledger.sqlite.incoming"
    shutil.copyfile(folder / "ledger.sqlite", incoming)
    incoming.chmod(0o600)
    ledger = Ledger(incoming)  # refuses what it cannot read, before any volume is copied
    try:
        copied = _copy_volumes(ledger, folder, data_dir)
    finally:
        ledger.close()
    sync(incoming)
    incoming.rename(data_dir / "ledger.sqlite")
    sync(data_dir)
    for leftover in data_dir.glob("ledger.sqlite.*"):
        leftover.unlink()
    return copied


def _copy_volumes(ledger: Ledger, source: Path, target: Path) -> int:
    store = SparseFileStore(target)
    copied = 0
    for volume in ledger.volumes():
        if volume.path is not None or volume.state == "deleting":
            continue
        for name in FOLDERS:
            file = source / name / f"{volume.id}.raw"
            if file.exists():
                # As long as it is: one that was cut short must not look whole afterwards.
                store.fill(volume.id, Address.of_file(file), 0, thin=volume.thin, progress=lambda _: None)
                copied += 1
                break
        if volume.trashed_at is not None:
            store.trash(volume.id)
    return copied
