"""The LIO engine against the kernel: what it makes, what the kernel's own initiator sees of it, what it adopts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from target_image.agent import naming
from target_image.agent.backing import Address
from target_image.agent.engines import BackingLun, Credentials, TargetState
from target_image.agent.engines.lio.engine import LioEngine
from target_image.agent.errors import EngineFailed
from target_image.agent.settings import Settings
from tests.guest.initiator import IscsiVolume, attach, detach, discover, format_and_mount
from tests.guest.inside.here import Here
from tests.guest.machine import GuestError

MIB = 2**20
PORTAL = "127.0.0.1:3260"
INITIATOR = "iqn.2026-11.io.lundock:guest"
SETTINGS = Settings(engine="lio", iscsi_addresses=("0.0.0.0", "::"))  # noqa: S104
CHAP = Credentials("the-user", "twelve-letters")


@pytest.fixture
def engine() -> Iterator[LioEngine]:
    engine = LioEngine(SETTINGS)
    engine.start()
    try:
        engine.open()
        yield engine
    finally:
        engine.stop()
    assert list(Path("/sys/kernel/config/target/core").glob("*/lundock-*")) == []
    assert list(Path("/sys/kernel/config/target/iscsi").glob("iqn.*")) == []


@pytest.fixture
def node() -> Iterator[Here]:
    here = Here()
    yield here
    here.run("umount /mnt/volume; iscsiadm -m node --logout; iscsiadm -m node -o delete", check=False)


def lun(
    folder: Path, name: str = "volume", number: int = 1, size_bytes: int = 64 * MIB, **changes: object
) -> BackingLun:
    path = folder / name
    if not path.exists():
        path.touch()
        os.truncate(path, size_bytes)
    backing = BackingLun(
        lun=number,
        address=Address.of_file(path),
        size_bytes=size_bytes,
        read_only=False,
        thin=True,
        serial=naming.serial(name),
        wwn=naming.wwn(name),
        product_id=naming.PRODUCT_ID,
    )
    return replace(backing, **changes)  # type: ignore[arg-type]


def target(*luns: BackingLun, **changes: object) -> TargetState:
    state = TargetState(tid=1, shard=0, iqn="iqn.2026-11.io.lundock:a-volume", luns=luns)
    return replace(state, **changes)  # type: ignore[arg-type]


def volume(state: TargetState, number: int = 1) -> IscsiVolume:
    chap = state.chap or Credentials("", "")
    return IscsiVolume(
        (PORTAL,),
        state.iqn,
        number,
        chap.username,
        chap.password,
        chap.mutual_username or "",
        chap.mutual_password or "",
    )


def test_anyone_may_log_in_where_nothing_is_said(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    [device] = attach(node, volume(state))
    format_and_mount(node, device, "/mnt/volume")
    node.run("echo hello >/mnt/volume/file; umount /mnt/volume")
    [session] = engine.sessions([state])
    assert (session.iqn, session.initiator) == (state.iqn, INITIATOR)
    assert engine.audit([state]) == []
    assert engine.ready()


def test_the_disk_says_who_it_is(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    [device] = attach(node, volume(state))
    inquiry = node.run(f"sg_inq {device}").stdout
    assert "Vendor identification: LUNDOCK" in inquiry
    assert "Product identification: VOLUME" in inquiry
    assert f"Unit serial number: {naming.serial('volume')}" in inquiry
    pages = node.run(f"sg_inq --page=di {device}").stdout.replace(" ", "").lower()
    assert naming.serial("volume")[:20] in pages


@pytest.mark.parametrize(
    ("chap", "initiators"),
    [(Credentials("the-user", "twelve-letters", "the-target", "twelve-others"), ()), (CHAP, (INITIATOR,))],
    ids=["anyone-mutual", "named-one-way"],
)
def test_chap_lets_in_who_knows_it(
    engine: LioEngine, node: Here, tmp_path: Path, chap: Credentials, initiators: tuple[str, ...]
) -> None:
    state = target(lun(tmp_path), chap=chap, initiators=initiators)
    engine.apply(state)
    attach(node, volume(state))
    detach(node, volume(state))
    wrong = replace(state, chap=replace(chap, password="another-password"))
    with pytest.raises(GuestError, match="authorization failure"):
        attach(node, volume(wrong))
    detach(node, volume(wrong))
    with pytest.raises(GuestError, match="authorization failure"):
        attach(node, volume(replace(state, chap=None)))
    assert engine.sessions([state]) == []


def test_mutual_chap_proves_the_target(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path), chap=Credentials("the-user", "twelve-letters", "the-target", "twelve-others"))
    engine.apply(state)
    deceived = replace(volume(state), mutual_password="not-its-password")
    with pytest.raises(GuestError):
        attach(node, deceived)


def test_only_named_initiators_see_and_enter_it(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path), initiators=("iqn.2026-11.io.lundock:someone-else",))
    engine.apply(state)
    with pytest.raises(GuestError, match="No portals found"):
        discover(node, PORTAL)
    allowed = replace(state, initiators=(INITIATOR,))
    engine.apply(allowed)
    assert discover(node, PORTAL) == [f"{PORTAL},1 {state.iqn}"]
    attach(node, volume(allowed))
    [session] = engine.sessions([allowed])
    assert session.addresses == ("127.0.0.1",)


def test_open_access_can_be_narrowed_and_widened(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    attach(node, volume(state))
    narrowed = replace(state, initiators=(INITIATOR,), chap=CHAP)
    engine.apply(narrowed)
    assert [session.initiator for session in engine.sessions([narrowed])] == [INITIATOR]
    detach(node, volume(state))
    attach(node, volume(narrowed))
    detach(node, volume(narrowed))
    engine.apply(state)
    attach(node, volume(state))


def test_unmap_gives_the_space_back(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    [device] = attach(node, volume(state))
    node.run(f"dd if=/dev/urandom of={device} bs=1M count=32 oflag=direct; sync")
    path = tmp_path / "volume"
    full = path.stat().st_blocks * 512
    node.run(f"blkdiscard {device}")
    assert full >= 32 * MIB
    assert path.stat().st_blocks * 512 < MIB
    detach(node, volume(state))
    thick = replace(state, luns=(lun(tmp_path, thin=False),))
    engine.apply(thick)
    [device] = attach(node, volume(thick))
    assert node.run(f"blkdiscard {device}", check=False).code != 0


def test_a_read_only_lun_beside_a_writable_one(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path), lun(tmp_path, "fixed", 2, read_only=True))
    engine.apply(state)
    attach(node, volume(state))
    node.run('echo "0 0 2" >/sys/class/scsi_host/$(ls /sys/class/iscsi_host | tail -1)/scan')
    fixed = volume(state, 2).device(PORTAL)
    node.until(f"test -b {fixed}")
    node.run(f"dd if=/dev/zero of={volume(state).device(PORTAL)} bs=4096 count=1 oflag=direct")
    assert node.run(f"blockdev --getro {fixed}").stdout == "1\n"
    assert node.run(f"dd if=/dev/zero of={fixed} bs=4096 count=1 oflag=direct", check=False).code != 0
    engine.remove(state)
    assert "fixed" not in node.run("losetup --list").stdout


def test_a_block_device_is_served(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    lun(tmp_path)
    loop = node.run(f"losetup --find --show {tmp_path}/volume").stdout.strip()
    try:
        state = target(lun(tmp_path, address=Address.of_file(loop)))
        engine.apply(state)
        [device] = attach(node, volume(state))
        format_and_mount(node, device, "/mnt/volume")
        node.run("umount /mnt/volume")
        assert engine.audit([state]) == []
        detach(node, volume(state))
        engine.remove(state)
    finally:
        node.run(f"losetup --detach {loop}")


def test_a_grown_file_is_served_in_its_new_size(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    os.truncate(tmp_path / "volume", 128 * MIB)
    grown = replace(state, luns=(lun(tmp_path, size_bytes=128 * MIB),))
    assert engine.audit([grown]) == [grown]
    engine.apply(grown)
    [device] = attach(node, volume(grown))
    assert node.run(f"blockdev --getsize64 {device}").stdout == f"{128 * MIB}\n"


def test_a_session_is_ended(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    for state in (target(lun(tmp_path)), target(lun(tmp_path), initiators=(INITIATOR,))):
        engine.apply(state)
        attach(node, volume(state))
        node.run("iscsiadm -m session")
        node.run("kill -STOP $(pidof iscsid)")  # it would log in again at once
        try:
            [session] = engine.sessions([state])
            engine.end_session(state, session)
            assert engine.sessions([state]) == []
            engine.end_session(state, session)
            assert engine.audit([state]) == []
        finally:
            node.run("kill -CONT $(pidof iscsid)")
        detach(node, volume(state))


def test_the_next_agent_adopts_what_an_earlier_one_left(engine: LioEngine, node: Here, tmp_path: Path) -> None:
    state = target(lun(tmp_path), chap=CHAP)
    engine.apply(state)
    [device] = attach(node, volume(state))
    format_and_mount(node, device, "/mnt/volume")
    os.close(engine._host_lock or -1)  # as if it had been killed: the kernel lets go of the lock, and keeps the rest
    engine._host_lock = None
    heir = LioEngine(SETTINGS)
    heir.start()
    try:
        storage = next(Path("/sys/kernel/config/target/core").glob("*/lundock-*")).stat().st_ino
        heir.apply(state)
        heir.open()
        assert next(Path("/sys/kernel/config/target/core").glob("*/lundock-*")).stat().st_ino == storage
        node.run("echo still >/mnt/volume/file; sync; umount /mnt/volume")
        assert len(heir.sessions([state])) == 1
    finally:
        heir.stop()


def test_another_file_of_the_same_path_is_not_taken_for_the_old_one(
    engine: LioEngine, node: Here, tmp_path: Path
) -> None:
    state = target(lun(tmp_path))
    engine.apply(state)
    (tmp_path / "volume").rename(tmp_path / "old")
    other = target(lun(tmp_path))
    assert engine.audit([other]) == [other]
    engine.apply(other)
    [device] = attach(node, volume(other))
    node.run(f"dd if=/dev/urandom of={device} bs=1M count=1 oflag=direct")
    assert (tmp_path / "old").stat().st_blocks == 0
    assert (tmp_path / "volume").stat().st_blocks > 0


def test_a_missing_file_fails_alone_and_is_not_made(engine: LioEngine, tmp_path: Path) -> None:
    state = target(lun(tmp_path))
    (tmp_path / "volume").unlink()
    with pytest.raises(EngineFailed, match="No such file"):
        engine.apply(state)
    assert not (tmp_path / "volume").exists()
    engine.remove(state)


def test_someone_elses_target_is_left_alone(engine: LioEngine, tmp_path: Path) -> None:
    import rtslib_fb

    (tmp_path / "theirs").touch()
    storage = rtslib_fb.FileIOStorageObject("theirs", str(tmp_path / "theirs"), 16 * MIB)
    theirs = rtslib_fb.Target(rtslib_fb.FabricModule("iscsi"), "iqn.2026-11.io.lundock:a-volume")
    rtslib_fb.LUN(rtslib_fb.TPG(theirs, 1), 0, storage)
    try:
        assert engine.audit([target(lun(tmp_path))]) != []  # it is not taken for ours
        with pytest.raises(EngineFailed, match="did not make"):
            engine.apply(target(lun(tmp_path)))
        engine.remove(target(lun(tmp_path)))
        assert theirs.exists
    finally:
        theirs.delete()
        storage.delete()


def test_one_agent_manages_a_host(engine: LioEngine) -> None:
    with pytest.raises(EngineFailed, match="another agent"):
        LioEngine(SETTINGS).start()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    engine = LioEngine(replace(SETTINGS, iscsi_port=3262))
    engine.start()
    blocker = subprocess.Popen(["python3", "-m", "http.server", "3262", "--bind", "::"], stderr=subprocess.DEVNULL)
    try:
        Here().until("python3 -c 'import socket; socket.create_connection((\"::1\", 3262))'")
        with pytest.raises(EngineFailed, match="3262"):
            engine.apply(target(lun(tmp_path)))
    finally:
        blocker.kill()
        blocker.wait()
        engine.stop()
