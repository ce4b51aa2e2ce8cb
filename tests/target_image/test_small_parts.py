"""The parts that decide and compute: names, sizes, capacity, locks, settings."""

from __future__ import annotations

import threading

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from target_image.agent import naming
from target_image.agent.service.capacity import measure, spare
from target_image.agent.service.locks import Locks
from target_image.agent.settings import GIB, Settings
from target_image.agent.stores import Space
from target_image.api import responses
from target_image.cli.main import main


def test_identity_is_fixed_for_ever() -> None:
    """Changing these would change the disks under people's multipath and fstab: never do."""
    assert naming.iqn("iqn.2026-11.io.lundock", "pvc-1") == "iqn.2026-11.io.lundock:pvc-1"
    assert naming.serial("pvc-1") == "299c1b7935e521596fc771c043036b67"
    assert naming.wwn("pvc-1") == "ea3f175569330795"


@given(st.text(), st.text())
def test_identities_differ(one: str, other: str) -> None:
    assert (naming.serial(one) == naming.serial(other)) is (one == other)
    assert len(naming.serial(one)) == 32
    assert len(naming.wwn(one)) == 16


@given(
    free=st.integers(0, 2**50),
    allocated=st.integers(0, 2**50),
    promised=st.integers(0, 2**50),
    ratio=st.floats(0.1, 10),
)
def test_available_is_never_negative_nor_beyond_the_ratio(
    free: int, allocated: int, promised: int, ratio: float
) -> None:
    found = measure(
        Space(free + allocated, free, allocated),
        promised_bytes=promised,
        ratio=ratio,
        reserve_bytes=GIB,
    )
    assert found.available_bytes >= 0
    assert found.available_bytes + promised <= max(promised, (free + allocated) * ratio + 1)


def test_what_is_written_does_not_change_what_may_be_promised() -> None:
    before = measure(Space(100, 100, 0), promised_bytes=40, ratio=1, reserve_bytes=10)
    after = measure(Space(100, 70, 30), promised_bytes=40, ratio=1, reserve_bytes=10)
    assert before.available_bytes == after.available_bytes == 50


def test_blocks_that_clones_share_do_not_make_the_disk_larger() -> None:
    found = measure(Space(100, 80, 60), promised_bytes=60, ratio=1, reserve_bytes=10)
    assert found.available_bytes == 100 - 10 - 60


@given(
    free=st.integers(0, 2**50),
    allocated=st.integers(0, 2**50),
    promised=st.integers(0, 2**50),
    ratio=st.floats(0.1, 10),
)
def test_what_is_spare_can_be_written_and_every_promise_kept(
    free: int, allocated: int, promised: int, ratio: float
) -> None:
    def found(written: int) -> responses.Capacity:
        return measure(
            Space(free + allocated, free - written, allocated),
            promised_bytes=promised,
            ratio=ratio,
            reserve_bytes=GIB,
        )

    bytes_ = spare(found(0), GIB)
    assert 0 <= bytes_ <= max(0, free - GIB)
    usable = max(0, free - bytes_ + allocated - GIB)
    assert bytes_ == 0 or promised <= usable * ratio * (1 + 1e-9) + ratio


def test_locks_keep_one_name_apart_and_forget_it() -> None:
    locks = Locks()
    inside: list[str] = []
    together = threading.Barrier(4)

    def work(names: list[str]) -> None:
        together.wait()
        for _ in range(200):
            with locks.hold(names):
                assert not set(inside) & set(names)
                inside.extend(names)
                for name in names:
                    inside.remove(name)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b"], ["b", "a"], ["b", "c"], ["c"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    assert locks._locks == {}


def test_every_setting_is_explained_and_an_option() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"LUNDOCK_{name.upper()}" in shown


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Settings] = []
    monkeypatch.setattr("target_image.agent.process.run", chosen.append)
    environment = {
        "LUNDOCK_SHARDS": "3",
        "LUNDOCK_ISCSI_ADDRESSES": "127.0.0.1 ::1",
        "LUNDOCK_RESERVE_BYTES": "1Gi",
        "LUNDOCK_PAGE": "false",
    }
    assert CliRunner().invoke(main, ["serve", "--api-port", "0"], env=environment).exit_code == 0
    [settings] = chosen
    assert (settings.shards, settings.iscsi_addresses) == (3, ("127.0.0.1", "::1"))
    assert (settings.reserve_bytes, settings.page, settings.api_port) == (GIB, False, 0)


def test_help_teaches() -> None:
    for arguments in ([], ["volumes"], ["exports"], ["images"], ["sessions"], ["exports", "create"]):
        shown = CliRunner().invoke(main, [*arguments, "--help"])
        assert shown.exit_code == 0
        assert "Usage:" in shown.output
