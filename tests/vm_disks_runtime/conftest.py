"""Real parts for the runtime's tests: a tgtd, the demo disk, and a libvirt daemon."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.capabilities import need
from tests.vm_disks_runtime.guest import Guest
from tests.vm_disks_runtime.target import Lun, Target
from tests.waiting import eventually

BUILD = Path(__file__).parents[2] / "target_image" / "demo_disk" / "build.sh"


@pytest.fixture(scope="session")
def demo_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk that the target's image carries, built from the same script."""
    need("syslinux", "mtools")
    disk = tmp_path_factory.mktemp("demo") / "demo.img"
    subprocess.run([BUILD, disk], check=True, capture_output=True, timeout=300)
    return disk


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    need("tgtd", "tgtadm")
    target = Target(tmp_path)
    target.start()
    yield target
    target.kill()


@pytest.fixture
def lun(target: Target, demo_disk: Path, tmp_path: Path) -> Callable[..., Lun]:
    """Another LUN of the target: a copy of the demo disk, or with a size an empty one."""

    def make(size_bytes: int | None = None, *, chap: bool = False, read_only: bool = False) -> Lun:
        name = uuid.uuid4().hex[:12]
        file = tmp_path / f"{name}.img"
        if size_bytes is None:
            subprocess.run(["cp", "--sparse=always", demo_disk, file], check=True, timeout=60)
        else:
            with file.open("wb") as empty:
                empty.truncate(size_bytes)
        user, password = (f"user-{name}", f"pw-{name}-secret") if chap else (None, None)
        return target.add(Lun(f"iqn.2026-11.io.lundock:{name}", file, user, password, read_only))

    return make


@pytest.fixture(scope="session")
def uri() -> str:
    """Root has qemu:///system, started here if nobody has; anybody else a session daemon, which starts by itself.

    The session daemon is tested in any case where it matters most: in the runner's image (test_runner.py).
    """
    need("libvirtd", "qemu", "qemu-iscsi")
    if os.geteuid() != 0:
        return "qemu:///session"
    uri = "qemu:///system"
    if not _answers(uri):
        subprocess.run(["virtlogd", "-d"], check=False, timeout=20)
        subprocess.run(["libvirtd", "-d"], check=False, timeout=20)
        eventually(lambda: _answers(uri), "libvirtd to answer", 30)
    return uri


def _answers(uri: str) -> bool:
    return subprocess.run(["virsh", "-c", uri, "version"], capture_output=True, timeout=30, check=False).returncode == 0


@pytest.fixture
def vm_name() -> str:
    """Unique: daemons and their domains are shared with whoever else tests here."""
    return f"rt-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def boot(uri: str) -> Iterator[Callable[..., Guest]]:
    guests: list[Guest] = []

    def start(*files: Path) -> Guest:
        guests.append(Guest(uri, *files))
        return guests[-1]

    yield start
    for guest in guests:
        guest.stop()
