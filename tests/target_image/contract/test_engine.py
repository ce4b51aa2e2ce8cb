"""The contract of engines.Engine: what any engine does, seen by real initiators."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lundock_common.quantity import MIB
from target_image.agent import naming
from target_image.agent.engines import Credentials, TargetState
from target_image.agent.errors import EngineFailed
from tests.target_image import initiator
from tests.target_image.contract.conftest import Place
from tests.waiting import eventually

pytestmark = pytest.mark.integration
CHAP = Credentials("disk", "a-long-password")


def test_a_target_is_served_and_taken_down(place: Place) -> None:
    target = place.target("disk")
    place.engine.apply(target)
    assert target.iqn in initiator.discover(place.portal)
    assert initiator.size_bytes(place.login(target)) == 16 * MIB
    place.engine.remove(target)
    assert target.iqn not in initiator.discover(place.portal)
    assert not initiator.can_log_in(place.login(target))


def test_apply_and_remove_can_be_repeated(place: Place) -> None:
    target = place.target("disk", chap=CHAP)
    for _ in range(2):
        place.engine.apply(target)
    assert initiator.can_log_in(place.login(target, CHAP))
    for _ in range(2):
        place.engine.remove(target)
    place.engine.apply(target)
    assert initiator.can_log_in(place.login(target, CHAP))


def test_a_missing_file_fails_and_leaves_the_others_alone(place: Place) -> None:
    good, bad = place.target("good"), place.target("bad")
    place.engine.apply(good)
    bad.luns[0].address.as_file().unlink()
    with pytest.raises(EngineFailed, match=re.escape(bad.iqn)):
        place.engine.apply(bad)
    assert not initiator.can_log_in(place.login(bad))
    assert initiator.can_log_in(place.login(good))
    place.lun("bad")  # mended: what the failure left behind must not be in the way
    place.engine.apply(bad)
    assert initiator.can_log_in(place.login(bad))
    assert place.engine.audit([good, bad]) == []


def test_data_and_several_luns(place: Place) -> None:
    luns = [place.lun("first", 1), place.lun("second", 2, size_mib=32), place.lun("far", 200)]
    target = place.target("disk", *luns)
    place.engine.apply(target)
    for lun in luns:
        assert initiator.size_bytes(place.login(target), lun.lun) == lun.size_bytes
        with initiator.Session(place.login(target), lun.lun) as session:
            session.write(8192, 4096, pattern=lun.lun)
    for lun in luns:
        with lun.address.as_file().open("rb") as file:
            file.seek(8192)
            assert file.read(4096) == bytes([lun.lun]) * 4096


def test_a_read_only_lun(place: Place) -> None:
    target = place.target("disk", place.lun("disk", read_only=True))
    place.engine.apply(target)
    with initiator.Session(place.login(target), read_only=True) as session:
        session.read(0, 4096)
    with pytest.raises(AssertionError), initiator.Session(place.login(target)) as session:
        session.write(0, 4096, pattern=1)
    assert target.luns[0].address.as_file().read_bytes()[:4096] == bytes(4096)
    place.engine.apply(replace(target, luns=(place.lun("disk"),)))
    with initiator.Session(place.login(target)) as session:
        session.write(0, 4096, pattern=1)


def test_luns_come_and_go_while_others_are_in_use(place: Place) -> None:
    one, two = place.lun("one", 1), place.lun("two", 2)
    target = place.target("disk", one)
    place.engine.apply(target)
    with initiator.Session(place.login(target)) as session:
        place.engine.apply(replace(target, luns=(one, two)))
        assert initiator.size_bytes(place.login(target), 2) == two.size_bytes
        session.write(0, 4096, pattern=3)
        place.engine.apply(target)
        assert initiator.size_bytes(place.login(target), 2) is None
        session.read(0, 4096, pattern=3)
        assert len(place.engine.sessions([target])) == 1


def test_chap(place: Place) -> None:
    target = place.target("disk", chap=CHAP)
    place.engine.apply(target)
    assert initiator.can_log_in(place.login(target, CHAP))
    assert not initiator.can_log_in(place.login(target))
    assert not initiator.can_log_in(place.login(target, Credentials("disk", "another-password")))
    assert not initiator.can_log_in(place.login(target, Credentials("another", CHAP.password)))


def test_chap_rotation(place: Place) -> None:
    target = place.target("disk", chap=CHAP)
    place.engine.apply(target)
    rotated = Credentials("disk", "the-next-password")
    with initiator.Session(place.login(target, CHAP)) as session:
        place.engine.apply(replace(target, chap=rotated))
        session.read(0, 4096)  # only a login is asked for a password
    assert initiator.can_log_in(place.login(target, rotated))
    assert not initiator.can_log_in(place.login(target, CHAP))
    assert not initiator.can_log_in(place.login(target))
    place.engine.apply(replace(target, chap=None))
    assert initiator.can_log_in(place.login(target))


def test_mutual_chap_is_accepted_from_initiators_that_ask_for_none(place: Place) -> None:
    if not place.engine.capabilities.mutual_chap:
        pytest.skip("the engine has no mutual CHAP")
    both = Credentials("disk", "a-long-password", "disk-target", "another-password")
    target = place.target("disk", chap=both)
    place.engine.apply(target)
    assert initiator.can_log_in(place.login(target, both))
    assert not initiator.can_log_in(place.login(target, Credentials("disk-target", "another-password")))


def test_mutual_chap_proves_the_target(place: Place) -> None:
    if not place.engine.capabilities.mutual_chap:
        pytest.skip("the engine has no mutual CHAP")
    both = Credentials("disk", "a-long-password", "disk-target", "another-password")
    target = place.target("disk", chap=both)
    place.engine.apply(target)
    for name, password, proven in [
        ("disk-target", "another-password", True),
        ("disk-target", "the-wrong-password", False),
        ("another-target", "another-password", False),
    ]:
        login = place.login(target, both, mutual_user=name, mutual_password=password)
        assert initiator.can_log_in(login) is proven
    rotated = replace(both, mutual_password="the-next-password")
    place.engine.apply(replace(target, chap=rotated))
    for password, proven in [("the-next-password", True), ("another-password", False)]:
        login = place.login(target, both, mutual_user="disk-target", mutual_password=password)
        assert initiator.can_log_in(login) is proven


def test_access_by_initiator(place: Place) -> None:
    if not place.engine.capabilities.access_by_initiator:
        pytest.skip("the engine has no access by initiator")
    target = place.target("disk", initiators=("iqn.2026-11.test:friend",))
    place.engine.apply(target)
    assert initiator.can_log_in(place.login(target, initiator="iqn.2026-11.test:friend"))
    assert not initiator.can_log_in(place.login(target, initiator="iqn.2026-11.test:stranger"))
    place.engine.apply(replace(target, initiators=("iqn.2026-11.test:stranger",)))
    assert not initiator.can_log_in(place.login(target, initiator="iqn.2026-11.test:friend"))
    assert initiator.can_log_in(place.login(target, initiator="iqn.2026-11.test:stranger"))


@pytest.mark.parametrize(
    ("networks", "lets_in"),
    [
        (("127.0.0.1",), True),
        (("127.0.0.0/8",), True),
        (("192.0.2.0/24",), False),
        (("192.0.2.0/24", "127.0.0.1"), True),
    ],
)
def test_access_by_network(place: Place, networks: tuple[str, ...], lets_in: bool) -> None:
    if not place.engine.capabilities.access_by_network:
        pytest.skip("the engine has no access by network")
    target = place.target("disk", networks=networks)
    place.engine.apply(target)
    assert initiator.can_log_in(place.login(target)) is lets_in


def test_sessions_are_listed_and_ended(place: Place) -> None:
    target, other = place.target("disk"), place.target("other")
    for each in (target, other):
        place.engine.apply(each)
    assert place.engine.sessions([target, other]) == []
    with initiator.Session(place.login(target, initiator="iqn.2026-11.test:me")):
        [session] = place.engine.sessions([target, other])
        assert (session.iqn, session.initiator) == (target.iqn, "iqn.2026-11.test:me")
        assert session.addresses
        place.engine.apply(replace(target, initiators=("iqn.2026-11.test:nobody",)))  # or it would come back
        place.engine.end_session(target, session)
        eventually(lambda: place.engine.sessions([target]) == [], "the session is gone")
        place.engine.end_session(target, session)


def test_many_targets_sessions(place: Place) -> None:
    targets = [place.target(f"disk-{number}") for number in range(20)]
    for target in targets:
        place.engine.apply(target)
    with initiator.Session(place.login(targets[7])):
        assert [session.iqn for session in place.engine.sessions(targets)] == [targets[7].iqn]
    assert initiator.discover(place.portal) >= {target.iqn for target in targets}
    assert place.engine.audit(targets) == []


def test_remove_ends_busy_sessions(place: Place) -> None:
    target = place.target("disk", place.lun("disk", size_mib=64))
    place.engine.apply(target)
    with initiator.Session(place.login(target)) as session:
        session.write(0, 32 * MIB, pattern=9)
        place.engine.remove(target)
        assert target.iqn not in initiator.discover(place.portal)


def test_identity_does_not_depend_on_the_target(place: Place) -> None:
    lun = place.lun("disk")
    first = place.target("first", lun)
    place.engine.apply(first)
    standard, serial = initiator.inquiry(place.login(first)), initiator.inquiry(place.login(first), page=0x80)
    assert "Vendor:LUNDOCK" in standard
    assert f"Product:{naming.PRODUCT_ID}" in standard
    assert naming.serial("disk") in serial
    assert naming.wwn("disk") in initiator.inquiry(place.login(first), page=0x83)
    place.engine.remove(first)
    second = place.target("second", lun)
    place.engine.apply(second)
    assert initiator.inquiry(place.login(second), page=0x80) == serial


def test_grow_is_seen_at_the_next_login(place: Place) -> None:
    target = place.target("disk")
    place.engine.apply(target)
    grown = replace(target, luns=(place.lun("disk", size_mib=48),))
    place.engine.apply(grown)
    assert initiator.size_bytes(place.login(target)) == 48 * MIB


def test_unmap_frees_space(place: Place) -> None:
    if not place.engine.capabilities.unmap:
        pytest.skip("the engine has no UNMAP")
    target = place.target("disk")
    place.engine.apply(target)
    path = target.luns[0].address.as_file()
    with initiator.Session(place.login(target)) as session:
        session.write(0, 8 * MIB, pattern=1)
        written = path.stat().st_blocks
        session.discard(0, 8 * MIB)
        assert written * 512 >= 8 * MIB
        assert path.stat().st_blocks * 512 <= MIB
        session.read(0, 8 * MIB, pattern=0)


def test_the_audit_finds_what_was_changed_behind_the_engine(place: Place) -> None:
    target, untouched = place.target("disk"), place.target("untouched")
    for each in (target, untouched):
        place.engine.apply(each)
    assert place.engine.audit([target, untouched]) == []
    gone = TargetState(next(place.tids), 0, "iqn.2026-11.test:never-made", luns=target.luns)
    assert place.engine.audit([target, gone]) == [gone]


def test_stop_leaves_nothing(place: Place) -> None:
    target = place.target("disk")
    place.engine.apply(target)
    with initiator.Session(place.login(target)):
        place.engine.stop()
    assert not initiator.can_log_in(place.login(target))
    assert not place.engine.ready()
