"""The ledger: what is written is there, names are unique, a full disk can still be emptied."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.errors import LedgerError, NameTaken, NoSpace
from target_image.agent.state import rows
from target_image.agent.state.ledger import Ledger, now
from target_image.agent.state.rows import Credentials, ExportRecord, VolumeRecord
from tests.file_systems import EXT4, mounted


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def volume(id: str = "disk") -> VolumeRecord:
    return VolumeRecord(id, MIB, rows.EmptySource(), rows.Owner(cluster="uid", release="ns/name"), True, now())


def export(id: str = "disk", chap: Credentials | None = None) -> ExportRecord:
    luns = (rows.Lun(lun=1, volume="disk"),)
    return ExportRecord(id, f"iqn.2026-11.test:{id}", 0, luns, rows.Access(), chap, None, now())


def test_records_come_back_as_they_were(ledger: Ledger) -> None:
    full = replace(
        volume(),
        source=rows.VolumeSource(volume="origin", allow_in_use=True),
        state="failed",
        condition=rows.Condition(code="c", detail="d"),
        grows_from=1,
        path="/elsewhere",
        stand_in=True,
        trashed_at=now(),
    )
    ledger.add_volume(full)
    assert ledger.volume("disk") == full
    made = ledger.add_export(export(chap=Credentials("a", "password", "b", "other")))
    assert ledger.export("disk") == made
    assert ledger.exports() == [made]


def test_tids_are_never_given_out_twice(ledger: Ledger) -> None:
    ledger.add_volume(volume())
    tids = []
    for _ in range(3):
        tids.append(ledger.add_export(export()).tid)
        ledger.forget_export("disk")
    assert tids == [tids[0], tids[0] + 1, tids[0] + 2]


def test_two_ledgers_begin_at_different_tids(tmp_path: Path) -> None:
    tids = set()
    for name in ("a", "b", "c"):
        ledger = Ledger(tmp_path / name / "ledger.sqlite")
        ledger.add_volume(volume())
        tids.add(ledger.add_export(export()).tid)
        ledger.close()
    assert len(tids) == 3
    assert all(0 < tid < 2**31 for tid in tids)


def test_names_are_unique(ledger: Ledger) -> None:
    ledger.add_volume(volume())
    ledger.add_export(export("one", Credentials("name", "password", "target", "password-2")))
    for taken in (
        replace(export("two"), iqn="iqn.2026-11.test:one"),
        export("two", Credentials("name", "password")),
        export("two", Credentials("target", "password")),
        export("two", Credentials("other", "password", "name", "password-2")),
    ):
        with pytest.raises(NameTaken):
            ledger.add_export(taken)
    assert [record.id for record in ledger.exports()] == ["one"]


def test_the_emptiest_shard_is_next(ledger: Ledger) -> None:
    ledger.add_volume(volume())
    for number in range(4):
        shard = ledger.emptiest_shard(3)
        ledger.add_export(replace(export(f"e{number}"), shard=shard))
    assert [record.shard for record in ledger.exports()] == [0, 1, 2, 0]


def test_copies_are_found(ledger: Ledger) -> None:
    ledger.add_volume(volume())
    ledger.add_volume(replace(volume("copy"), source=rows.VolumeSource(volume="disk")))
    ledger.add_volume(replace(volume("image"), source=rows.ImageSource(image="alpine")))
    assert (ledger.copies_of("disk"), ledger.volumes_from_image("alpine")) == (["copy"], ["image"])
    ledger.save_volume(replace(volume("copy"), source=rows.VolumeSource(volume="disk"), state="ready"))
    assert ledger.copies_of("disk") == []


def test_only_one_may_hold_it(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="another agent"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        ledger.add_export(export())  # its volume is not there
    assert ledger.exports() == []
    ledger.add_volume(volume())
    ledger.add_export(export())


def test_a_full_disk_can_still_be_emptied(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        ledger = Ledger(folder / "ledger.sqlite")
        for number in range(20):
            ledger.add_volume(volume(f"disk-{number}"))
        _fill_disk(folder / "filler")
        with pytest.raises(NoSpace, match="delete volumes now"):
            _add_volumes(ledger, range(20, 10000))
        ledger.forget_volume("disk-1")  # in the room that the reserve gave up
        assert ledger.volume("disk-1") is None
        ledger.close()
        again = Ledger(folder / "ledger.sqlite")
        assert len(again.volumes()) >= 19
        again.close()


def _fill_disk(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65536)):
            pass


def _add_volumes(ledger: Ledger, numbers: range) -> None:
    for number in numbers:
        ledger.add_volume(volume(f"disk-{number}"))
