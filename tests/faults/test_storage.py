"""Disks that are full, and power cuts: what was acknowledged after a flush is there."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from target_image.api.client import ApiProblem
from target_image.api.requests import ExportSpec, Lun, VolumeSpec
from tests.capabilities import need
from tests.faults.tools.disks import Disk, Written
from tests.file_systems import BTRFS, mounted
from tests.provisioner.stage import TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MIB = 2**20


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    need("root", "btrfs")
    with mounted(tmp_path, BTRFS, 600) as folder:
        yield folder


def run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True, timeout=60)


def export(target: TargetProcess, name: str) -> Disk:
    made = target.client.ensure_export(name, ExportSpec(luns=[Lun(lun=1, volume=name)]))
    return Disk(f"127.0.0.1:{target.iscsi_port}", made.iqn)


def test_a_power_cut_keeps_what_was_flushed(btrfs: Path, tmp_path: Path, dice: random.Random) -> None:
    """Snapshots of the data folder at random instants, each started as a target: that is what a power cut leaves."""
    live = btrfs / "live"
    run("btrfs", "subvolume", "create", live)
    target = target_on(live, tmp_path)
    written, stopped = Written(), threading.Event()
    target.client.ensure_volume("disk", VolumeSpec(size_bytes=16 * MIB))
    disk = export(target, "disk")

    def write() -> None:
        number = 0
        while not stopped.is_set():
            written.write(disk, number % 200, number % 255 + 1)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    snapshots = []
    try:
        for number in range(3):
            made = f"made-{number}"
            target.client.ensure_volume(made, VolumeSpec(size_bytes=MIB))
            stopped.wait(dice.uniform(0.2, 1))
            before = dict(written.acknowledged)
            run("btrfs", "subvolume", "snapshot", live, btrfs / f"cut-{number}")
            snapshots.append((btrfs / f"cut-{number}", before, made))
    finally:
        stopped.set()
        writer.join()
        target.end()
    for folder, before, made in snapshots:
        after = target_on(folder, tmp_path / folder.name)
        try:
            assert {volume.id for volume in after.client.list_volumes()} >= {"disk", made}
            eventually(partial(is_ready, after, "disk"), "the export", 30)
            # A block may have been written again after the snapshot's instant was chosen: then it is newer, not lost.
            newer = {block: {written.acknowledged[block], *written.uncertain[block]} for block in before}
            Written(before, newer).verify(Disk(f"127.0.0.1:{after.iscsi_port}", disk.iqn))
        finally:
            after.end()
            shutil.rmtree(after.run_dir, ignore_errors=True)
    shutil.rmtree(target.run_dir, ignore_errors=True)


def is_ready(target: TargetProcess, name: str) -> bool:
    found = target.client.get_export(name)
    return found is not None and found.phase == "ready"


def is_deleted(target: TargetProcess, name: str) -> bool:
    try:
        target.client.delete_export(name)
        target.client.delete_volume(name)
    except ApiProblem as problem:
        if not problem.retryable:
            raise
        return False
    return True


def target_on(data: Path, folder: Path) -> TargetProcess:
    folder.mkdir(exist_ok=True)
    target = TargetProcess(folder, "target")
    target.argv = [f"--data-dir={data}" if word.startswith("--data-dir=") else word for word in target.argv]
    target.up()
    return target


def test_a_full_disk_fails_writes_and_can_be_emptied(btrfs: Path, tmp_path: Path) -> None:
    target = target_on(btrfs, tmp_path)
    try:
        target.client.ensure_volume("big", VolumeSpec(size_bytes=200 * MIB))
        target.client.ensure_volume("small", VolumeSpec(size_bytes=MIB, thin=False))
        big, small = export(target, "big"), export(target, "small")
        kept = Written()
        assert kept.write(small, 0, 0x11)
        ballast = btrfs / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], capture_output=True, timeout=120, check=False)
        filled = big.qemu_io("write -P 7 0 190M", "flush")
        assert filled.returncode != 0 or "failed" in filled.stdout + filled.stderr, "a full disk cannot take it"
        kept.verify(small)
        # The ledger has room of its own; the first answer may be that it was just given up.
        eventually(partial(is_deleted, target, "big"), "the volume's deletion")
        ballast.unlink()
        eventually(lambda: kept.write(small, 1, 0x22), "a write after the disk was emptied")
        kept.verify(small)
    finally:
        target.end()
        shutil.rmtree(target.run_dir, ignore_errors=True)
