"""Backup and restore of a target: the ledger and every volume's bytes.

    <folder>/ledger.sqlite      a consistent copy, by SQLite's backup API
    <folder>/volumes/<id>.raw   sparse, or sharing blocks where the file systems allow it

Volumes are files in a backup, whatever the agent's store is. They are copied by a SparseFileStore on the backup's
folder, so a store whose volumes are no files needs another way out here; `restore` works over any store.

The ledger holds CHAP passwords in clear, so a backup is as secret as the data folder: mode 0700.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from target_image.agent.backing import Address
from target_image.agent.durable import sync
from target_image.agent.errors import Conflict, LedgerError
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.lost import check_not_lost
from target_image.agent.state.rows import VolumeRecord
from target_image.agent.stores import Store, make_store
from target_image.agent.stores.sparse_file import SparseFileStore

FOLDERS = ("volumes", "trash")


def backup(settings: Settings, folder: Path) -> int:
    """Copy everything into a new folder while no agent runs.

    Args:
        settings: the agent's.
        folder: the backup's; it must not exist, or be empty.

    Returns:
        The number of volumes.

    Raises:
        LedgerError: there is no ledger, or an agent holds it: its volumes would be copied in the middle of writes.
        Conflict: the folder is not empty.
    """
    if not settings.ledger_file.exists():
        raise LedgerError(f"there is no ledger in {settings.data_dir}: give the agent's --data-dir")
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: give a new folder for the backup")
    store = make_store(settings)
    check_not_lost(settings.ledger_file, store)
    ledger = Ledger(settings.ledger_file)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        copied = _copy_volumes(ledger, SparseFileStore(folder), lambda volume: store.find(volume.id))
        with (
            closing(sqlite3.connect(settings.ledger_file)) as source,
            closing(sqlite3.connect(folder / "ledger.sqlite")) as target,
        ):
            source.backup(target)
        (folder / "ledger.sqlite").chmod(0o600)
        sync(folder)
    finally:
        ledger.close()
    return copied


def restore(folder: Path, settings: Settings) -> int:
    """Bring a backup into an empty data folder. An older ledger migrates here.

    Args:
        folder: the backup's.
        settings: the agent's.

    Returns:
        The number of volumes.

    Raises:
        LedgerError: there is no backup, or its ledger is newer than this agent or cannot be read.
        Conflict: the data folder has a ledger already, which would be lost.
    """
    data_dir = settings.data_dir
    if settings.ledger_file.exists():
        raise Conflict(f"{data_dir} has a ledger already: move it away, or give another --data-dir")
    if not (folder / "ledger.sqlite").exists():
        raise LedgerError(f"there is no backup in {folder}: it has no ledger.sqlite")
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = data_dir / "ledger.sqlite.incoming"
    shutil.copyfile(folder / "ledger.sqlite", incoming)
    incoming.chmod(0o600)
    ledger = Ledger(incoming)  # refuses what it cannot read, before any volume is copied
    try:
        copied = _copy_volumes(ledger, make_store(settings), lambda volume: _find_file(folder, volume))
    finally:
        ledger.close()
    sync(incoming)
    incoming.rename(settings.ledger_file)
    sync(data_dir)
    for leftover in data_dir.glob("ledger.sqlite.*"):
        leftover.unlink()
    return copied


def _copy_volumes(ledger: Ledger, target: Store, find: Callable[[VolumeRecord], Address | None]) -> int:
    copied = 0
    for volume in ledger.volumes():
        if volume.path is not None or volume.state == "deleting":
            continue
        source = find(volume)
        if source is not None:
            # As long as it is: one that was cut short must not look whole afterwards.
            target.fill(volume.id, source, 0, thin=volume.thin, progress=lambda _: None)
            copied += 1
        if volume.trashed_at is not None:
            target.trash(volume.id)
    return copied


def _find_file(folder: Path, volume: VolumeRecord) -> Address | None:
    """The volume's file in a backup, which may be where nothing can be written."""
    files = (folder / name / f"{volume.id}.raw" for name in FOLDERS)
    return next((Address.of_file(file) for file in files if file.exists()), None)
