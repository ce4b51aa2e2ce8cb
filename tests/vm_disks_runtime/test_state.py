"""Locks between vm-disks of one host, and files that can't be made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_disks.errors import AlreadyRunning, LocalFileError
from vm_disks.model import Disk, DiskSpec, EmptyDiskSource, VmSpec
from vm_disks.resolution.lookup import FromManifests
from vm_disks.runtime import media, state


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "SYSTEM_DIRECTORY", tmp_path / "state")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return state.root()


@pytest.fixture
def other_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """One that has the lock until it is killed."""
    program = (
        "import sys, pathlib\n"
        "from vm_disks.runtime import state\n"
        f"state.root = lambda: pathlib.Path({str(root)!r})\n"
        "with state.starting('host', 'ns_vm'):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_one_start_at_a_time_and_a_killed_one_is_none(other_process: subprocess.Popen[str]) -> None:
    assert state.is_starting("host", "ns_vm")
    with pytest.raises(AlreadyRunning, match="ns_vm"), state.starting("host", "ns_vm"):
        pass
    with (
        state.starting("host", "ns_other"),
        state.starting("elsewhere", "ns_vm"),
        state.starting("host", "ns_vm", "attach"),
    ):
        assert not state.is_starting("host", "ns_else")
    other_process.kill()
    other_process.wait()
    assert not state.is_starting("host", "ns_vm")
    with state.starting("host", "ns_vm"):
        assert state.is_starting("host", "ns_vm")


def test_a_lock_leaves_no_file(root: Path) -> None:
    with state.starting("host", "ns_vm"):
        pass
    assert list((root / "locks").iterdir()) == []
    assert not state.is_starting("host", "ns_vm")


def test_no_room_for_a_file_is_a_sentence(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    root.write_text("not a directory")
    disk = Disk(DiskSpec("d", "volumes[0]", EmptyDiskSource(1)), "virtio", "vda", False)
    with pytest.raises(LocalFileError, match=f"make the file of disk d.*{root}"):
        media.make(VmSpec("vm", "ns", (disk.spec,)), [disk], FromManifests([]), {})
    with pytest.raises(LocalFileError, match="lock domain ns_vm"), state.starting("host", "ns_vm"):
        pass
