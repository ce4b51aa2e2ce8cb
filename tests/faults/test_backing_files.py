"""Files under the target that are harmed: a ledger cut short, a backing file that another one replaces."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from target_image.api.fields import Phase
from target_image.api.requests import VolumeSpec
from tests.faults.test_storage import MIB, export, is_ready
from tests.faults.tools.disks import BLOCK_BYTES, Written, read_file
from tests.provisioner.stage import TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kept_bytes", [0, 50, 4096, 20_000])
def test_a_truncated_ledger_is_refused_and_a_mended_one_serves_everything(
    target: TargetProcess, kept_bytes: int
) -> None:
    """Never an agent that starts with fewer volumes: the provisioner would have it make them again, empty."""
    target.client.ensure_volume("disk", VolumeSpec(size_bytes=MIB))
    disk, written = export(target, "disk"), Written()
    assert written.write(disk, 0, 0x33)
    assert target.stop() == 0
    ledger, aside = target.data_dir / "ledger.sqlite", target.data_dir / "aside"
    shutil.copy2(ledger, aside)
    assert ledger.stat().st_size > kept_bytes
    with ledger.open("r+b") as file:
        file.truncate(kept_bytes)
    target.start()
    assert target.running is not None
    assert target.running.wait(30) == 1
    assert "restore it from a backup" in target.tail()
    assert ledger.stat().st_size == kept_bytes, "what is refused is left as it is"
    aside.replace(ledger)
    target.up()
    written.verify(disk)


def test_a_missing_ledger_with_volumes_beside_it_is_no_new_target(target: TargetProcess) -> None:
    target.client.ensure_volume("disk", VolumeSpec(size_bytes=MIB))
    assert target.stop() == 0
    for path in target.data_dir.glob("ledger.*"):
        path.unlink()
    target.start()
    assert target.running is not None
    assert target.running.wait(30) == 1
    assert "there are volumes in" in target.tail()
    assert not (target.data_dir / "ledger.sqlite").exists(), "so that a backup can be restored"


def test_a_backing_file_that_is_replaced_is_what_is_served(target: TargetProcess, tmp_path: Path) -> None:
    """tgtd would go on writing to the old one, which has no name any more: all of it lost at the next start."""
    for name in ("swapped", "other"):
        target.client.ensure_volume(name, VolumeSpec(size_bytes=MIB))
    swapped, other = export(target, "swapped"), export(target, "other")
    bystander, before = Written(), Written()
    assert bystander.write(other, 0, 0x11)
    assert before.write(swapped, 0, 0x22)
    path, replacement = target.data_dir / "volumes" / "swapped.raw", tmp_path / "replacement"
    replacement.write_bytes(bytes([0x44]) * MIB)
    shutil.move(replacement, path)
    eventually(lambda: "was replaced while it was served" in target.tail(), "the agent to notice", 30)
    eventually(lambda: is_ready(target, "swapped"), "the export to be back", 30)
    found = Written({0: 0x44, 1: 0x44})
    found.verify(swapped)
    assert found.write(swapped, 1, 0x55)
    target.kill()
    target.up()
    found.verify(swapped)
    assert read_file(path, 1) == bytes([0x55]) * BLOCK_BYTES
    bystander.verify(other)
    assert [each.phase for each in target.client.list_exports()] == [Phase.READY] * 2
