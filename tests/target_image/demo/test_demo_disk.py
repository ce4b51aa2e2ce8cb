"""The demo disk: built by its script, started by QEMU from the buses that VMs use, switched off by the power button."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.places import REPOSITORY
from lundock_common.quantity import MIB
from tests.capabilities import need
from tests.target_image.console import read_until

pytestmark = pytest.mark.integration

BUILD = REPOSITORY / "target_image" / "demo_disk" / "build.sh"
NOBODY = 65534


def build(folder: Path, name: str) -> Path:
    """As nobody in particular: the script needs no privilege."""
    output = folder / name
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1483228800", "TMPDIR": str(folder)}
    subprocess.run(["sh", BUILD, output], check=True, timeout=300, user=NOBODY, group=NOBODY, env=environment)
    return output


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        shutil.chown(name, NOBODY, NOBODY)
        yield Path(name)


@pytest.fixture(scope="module")
def disk(folder: Path) -> Path:
    need("root", "demo-disk-tools")
    return build(folder, "demo.img")


def test_it_is_small_and_lists_what_it_is_made_of(disk: Path) -> None:
    assert disk.stat().st_size == 64 * MIB
    assert disk.stat().st_blocks * 512 < 24 * MIB
    manifest = [line.split() for line in disk.with_suffix(".img.manifest").read_text().splitlines()]
    assert [source for _, _, source in manifest] == ["linux", "busybox", "systemd", "syslinux"]


def test_the_same_packages_give_the_same_bytes(disk: Path, folder: Path) -> None:
    again = build(folder, "again.img")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (disk, again)]
    assert digests[0] == digests[1]


# IDE is what the command of 2017 uses: test_container.py.
BUSES = {
    "virtio": ("-drive file={disk},format=raw,if=none,id=d -device virtio-blk-pci,drive=d,serial=claim", "/dev/vda"),
    "scsi": (
        "-device virtio-scsi-pci -drive file={disk},format=raw,if=none,id=d -device scsi-hd,drive=d,serial=claim",
        "/dev/sda",
    ),
    "sata": ("-machine q35 -drive file={disk},format=raw", "on a bus that this kernel has no driver for"),
}


@pytest.mark.parametrize("bus", BUSES)
def test_it_starts_from_every_bus_and_obeys_the_power_button(disk: Path, folder: Path, bus: str) -> None:
    need("qemu")
    arguments, told = BUSES[bus]
    monitor = folder / f"{bus}.monitor"
    argv = ["qemu-system-x86_64", "-snapshot", "-m", "128", "-display", "none", "-serial", "stdio"]
    argv += ["-monitor", f"unix:{monitor},server=on,wait=off", *arguments.format(disk=disk).split()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
        try:
            console = read_until(machine, "login:")
            assert told in console
            assert "claim" in console or bus == "sata"
            assert machine.stdin is not None
            machine.stdin.write(b"root\n")
            machine.stdin.flush()
            read_until(machine, "/root #")
            with socket.socket(socket.AF_UNIX) as button:
                button.connect(str(monitor))
                button.sendall(b"system_powerdown\n")
                read_until(machine, "Power down")
                machine.wait(60)
        finally:
            machine.kill()
    assert machine.returncode == 0


def test_it_starts_from_uefi(disk: Path) -> None:
    need("qemu", "ovmf")
    argv = ["qemu-system-x86_64", "-snapshot", "-m", "256", "-nographic", "-bios", "/usr/share/ovmf/OVMF.fd"]
    argv += ["-drive", f"file={disk},format=raw,if=virtio"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
        try:
            assert "/dev/vda" in read_until(machine, "login:")
        finally:
            machine.kill()
