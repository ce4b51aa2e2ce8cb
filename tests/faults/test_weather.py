"""Disks that are slow or read-only, and clocks that jump."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from target_image.api.client import TargetError
from target_image.api.fields import Phase
from target_image.api.requests import VolumeSpec
from tests.capabilities import need
from tests.faults.conftest import SWEEP
from tests.faults.test_storage import MIB, export, is_ready, run, target_on
from tests.faults.tools import invariants
from tests.faults.tools.disks import Written
from tests.faults.tools.proxy import before_api_server
from tests.faults.tools.weather import Weather
from tests.file_systems import EXT4, mounted, unmount
from tests.provisioner.stage import Stage, TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DAY_S = 86_400


@pytest.fixture
def not_up(tmp_path: Path) -> Iterator[TargetProcess]:
    """A target that is not started yet."""
    need("tgtd", "qemu-iscsi", "iscsi-ls")
    target = TargetProcess(tmp_path, "target-0")
    yield target
    target.end()


def test_a_volume_on_a_slow_disk_does_not_slow_the_others(not_up: TargetProcess, tmp_path: Path) -> None:
    weather = Weather(tmp_path, not_up, slow_path="/slow.raw")
    not_up.up()
    for name in ("slow", "fast"):
        not_up.client.ensure_volume(name, VolumeSpec(size_bytes=4 * MIB))
    slow, fast = export(not_up, "slow"), export(not_up, "fast")
    kept, others = Written(), Written()
    assert kept.write(slow, 0, 0x21)
    weather.delay_disk(600)
    writing = threading.Thread(target=kept.write, args=(slow, 1, 0x22), kwargs={"timeout_s": 300})
    writing.start()
    eventually(lambda: not_up.client.sessions(), "the slow write's session")
    for block in range(3):
        assert others.write(fast, block, 0x31)
    others.verify(fast)
    not_up.client.ensure_volume("new", VolumeSpec(size_bytes=MIB))
    export(not_up, "new")
    assert writing.is_alive(), "all of that was done while one write waited for its disk"
    weather.delay_disk(0)
    writing.join()
    kept.verify(slow)
    assert kept.acknowledged == {0: 0x21, 1: 0x22}


@pytest.mark.cluster
def test_a_ledger_on_a_slow_disk(control_plane: ControlPlane, not_up: TargetProcess, tmp_path: Path) -> None:
    """Each commit takes about as long as the provisioner waits: answers come late, or after it has given up."""
    weather = Weather(tmp_path, not_up, slow_path="/ledger.sqlite")
    not_up.up()
    stage = Stage(control_plane.kubeconfig, tmp_path, [not_up])
    stage.process = stage.provisioner(sweep=SWEEP, targetCalls={"timeoutSeconds": 1})
    try:
        stage.up()
        weather.delay_disk(0.25)
        for number in range(6):
            stage.claim(f"late-{number}")
        stage.delete_claim("late-0")
        eventually(lambda: "does not answer" in stage.process.tail(), "a call to be given up", 60)
        weather.delay_disk(0)
        invariants.settled(stage, [not_up])
        invariants.strangers_stay_out(stage)
    finally:
        stage.down()


@pytest.mark.cluster
def test_clocks_that_jump(control_plane: ControlPlane, not_up: TargetProcess, tmp_path: Path) -> None:
    """The provisioner's, the target's, both; forth and back. The Lease is kept, and nothing that is named is swept."""
    own = Weather(tmp_path, not_up)
    not_up.up()
    # Through a proxy without TLS: certificates have their own opinion of a clock that is a year ahead.
    with before_api_server(control_plane, tmp_path) as (_proxy, kubeconfig):
        stage = Stage(control_plane.kubeconfig, tmp_path, [not_up])
        stage.kubeconfig = kubeconfig
        stage.process = stage.provisioner(sweep=SWEEP)
        theirs = Weather(tmp_path, stage.process)
        written = Written()
        try:
            stage.up()
            stage.claim("kept")
            disk = invariants.disk_of(stage, stage.bound("kept"))
            jumps = [(400 * DAY_S, 0), (0, 400 * DAY_S), (-DAY_S, -DAY_S), (-DAY_S, DAY_S), (0, 0)]
            for number, (provisioners_s, targets_s) in enumerate(jumps):
                theirs.set_clock_ahead(provisioners_s)
                own.set_clock_ahead(targets_s)
                assert written.write(disk, number, 0x41 + number)
                stage.claim(f"jump-{number}")
                stage.bound(f"jump-{number}")
                if number:
                    stage.delete_claim(f"jump-{number - 1}")
                invariants.settled(stage, [not_up])
            assert stage.working(), "it still leads"
            not_up.kill()
            not_up.up()
            written.verify(disk)
            invariants.strangers_stay_out(stage)
        finally:
            stage.down()


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Path]:
    """An ext4 that becomes read-only when it finds an error, as most are mounted."""
    with mounted(tmp_path, EXT4, 128, "loop,errors=remount-ro") as folder:
        yield folder


def test_a_disk_that_becomes_read_only(failing: Path, tmp_path: Path) -> None:
    """Writes fail and are not acknowledged, the export goes offline, the agent lives; mended, all of it is there."""
    data = failing / "data"
    target = target_on(data, tmp_path)
    try:
        target.client.ensure_volume("disk", VolumeSpec(size_bytes=4 * MIB))
        disk, written = export(target, "disk"), Written()
        assert written.write(disk, 0, 0x51)
        break_file_system(failing)
        assert not written.write(disk, 1, 0x52)
        eventually(lambda: phase(target, "disk") is Phase.OFFLINE, "the export to be offline", 30)
        found = target.client.get_export("disk")
        assert found is not None
        assert found.condition is not None
        assert found.condition.code == "backing-file-unusable"
        with pytest.raises(TargetError):
            target.client.ensure_volume("new", VolumeSpec(size_bytes=MIB))
        target.kill()
        unmount(failing)
        subprocess.run(["e2fsck", "-fy", tmp_path / "filesystem.img"], capture_output=True, timeout=60, check=False)
        run("mount", "-o", "loop", tmp_path / "filesystem.img", failing)
        target.up()
        eventually(partial(is_ready, target, "disk"), "the export", 30)
        written.verify(disk)
        assert written.write(disk, 1, 0x53)
        target.client.ensure_volume("new", VolumeSpec(size_bytes=MIB))
    finally:
        target.end()


def phase(target: TargetProcess, name: str) -> Phase | None:
    found = target.client.get_export(name)
    return None if found is None else found.phase


def break_file_system(mount: Path) -> None:
    """What the kernel does when it finds metadata that cannot be (ext4(5), errors=; sysfs-fs-ext4)."""
    device = Path(subprocess.check_output(["findmnt", "-no", "SOURCE", mount], text=True, timeout=10).strip())
    Path(f"/sys/fs/ext4/{device.name}/trigger_fs_error").write_text("tests/faults")
