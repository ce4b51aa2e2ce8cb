"""Backup and restore, and what is no ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lundock_common.quantity import MIB
from target_image.agent.errors import Conflict, LedgerError
from target_image.agent.settings import Settings
from target_image.agent.state import backup
from target_image.agent.state.ledger import Ledger, now
from target_image.agent.state.rows import EmptySource, VolumeRecord
from target_image.cli.main import main
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.conftest import MakeAgent, export_spec, volume_spec

PASSWORD = "a-long-password"


def ledger_with_a_volume(folder: Path, content: bytes = b"data") -> None:
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.add_volume(VolumeRecord("disk", MIB, EmptySource(), None, True, now(), state="ready"))
    ledger.close()
    (folder / "volumes").mkdir()
    with (folder / "volumes" / "disk.raw").open("wb") as file:
        file.write(content)
        file.truncate(MIB)


@pytest.mark.integration
def test_a_target_moves_to_another_machine_by_its_backup(make_agent: MakeAgent, tmp_path: Path) -> None:
    need("qemu-iscsi")
    old = make_agent(name="old").start()
    with old.client() as client:
        for id in ("disk", "put-aside"):
            client.ensure_volume(id, volume_spec())
        client.trash_volume("put-aside")
        client.ensure_export("disk", export_spec("disk", chap={"username": "disk", "password": PASSWORD}))
    with initiator.Session(old.login("disk", "disk", PASSWORD)) as session:
        session.write(4096, 4096, pattern=0x42)
    identity = initiator.inquiry(old.login("disk", "disk", PASSWORD), page=0x83)
    folder = tmp_path / "backup"
    arguments = ["backup", str(folder), "--data-dir", str(old.data)]

    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "another agent holds" in refused.output

    old.stop()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert folder.stat().st_mode & 0o077 == 0
    new = make_agent(name="new")
    assert CliRunner().invoke(main, ["restore", str(folder), "--data-dir", str(new.data)]).exit_code == 0
    new.start()

    login = new.login("disk", "disk", PASSWORD)
    with initiator.Session(login) as session:
        session.read(4096, 4096, pattern=0x42)
    assert initiator.inquiry(login, page=0x83) == identity
    with new.client() as client:
        assert [(volume.id, volume.trashed_at is None) for volume in client.list_volumes()] == [
            ("disk", True),
            ("put-aside", False),
        ]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    ledger_with_a_volume(data)
    assert backup.backup(Settings(data_dir=data), folder) == 1
    with pytest.raises(Conflict):
        backup.backup(Settings(data_dir=data), folder)
    with pytest.raises(Conflict):
        backup.restore(folder, Settings(data_dir=data))
    with pytest.raises(LedgerError, match="no ledger"):
        backup.backup(Settings(data_dir=tmp_path / "nowhere"), tmp_path / "other")


def test_a_backup_stays_sparse(tmp_path: Path) -> None:
    data, folder, again = tmp_path / "data", tmp_path / "backup", tmp_path / "again"
    ledger_with_a_volume(data)
    backup.backup(Settings(data_dir=data), folder)
    backup.restore(folder, Settings(data_dir=again))
    restored = again / "volumes" / "disk.raw"
    assert restored.read_bytes() == (data / "volumes" / "disk.raw").read_bytes()
    assert restored.stat().st_blocks * 512 < MIB // 2
    assert sorted(path.name for path in again.glob("ledger*")) == ["ledger.sqlite"]


def test_a_volume_that_was_cut_short_stays_so(tmp_path: Path) -> None:
    """Filled up with zeros, the restored target would serve it as if nothing were wrong."""
    data, folder, again = tmp_path / "data", tmp_path / "backup", tmp_path / "again"
    ledger_with_a_volume(data)
    with (data / "volumes" / "disk.raw").open("r+b") as file:
        file.truncate(1000)
    backup.backup(Settings(data_dir=data), folder)
    backup.restore(folder, Settings(data_dir=again))
    assert (again / "volumes" / "disk.raw").stat().st_size == 1000


def test_a_ledger_that_was_lost_is_not_backed_up(tmp_path: Path) -> None:
    """Opened, it would become a new one, and the volumes beside it would belong to nobody."""
    data = tmp_path / "data"
    ledger_with_a_volume(data)
    (data / "ledger.sqlite").write_bytes(b"")
    with pytest.raises(LedgerError, match="there are volumes in"):
        backup.backup(Settings(data_dir=data), tmp_path / "backup")
    assert (data / "ledger.sqlite").read_bytes() == b""


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is not a database, it only lies where one should be" * 100)
    with pytest.raises(LedgerError, match="restore it from a backup"):
        Ledger(tmp_path / "ledger.sqlite")
