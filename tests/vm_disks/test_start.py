"""QEMU takes every golden too: started (and paused) by libvirt, logged in to LUNs of a real target."""

from __future__ import annotations

import dataclasses
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lundock_common.portal import Portal
from tests.capabilities import need
from tests.vm_disks import cases
from tests.vm_disks_runtime.target import Lun, Target
from vm_disks.model import CloudInitSource, Disk
from vm_disks.xml import domain_xml, markup

pytestmark = pytest.mark.integration

SIZE_BYTES = 16 * 1024 * 1024
PASSWORD = "a-chap-password"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    need("tgtd", "tgtadm", "qemu-img")
    target = Target(tmp_path)
    target.start()
    yield target
    target.kill()


def on_target(disk: Disk, target: Target) -> tuple[Disk, Lun | None]:
    """The same disk on a LUN that exists."""
    if disk.address is None:
        return disk, None
    name = uuid.uuid4().hex
    file = target.directory / f"{name}.img"
    with file.open("wb") as empty:
        empty.truncate(SIZE_BYTES)
    chap = disk.address.chap
    user = f"{chap.username}-{name[:4]}" if chap else None
    lun = Lun(f"iqn.2026-11.io.lundock:{name}", file, user, PASSWORD if chap else None, disk.address.read_only)
    address = dataclasses.replace(
        disk.address,
        portals=(Portal("127.0.0.1", target.port),),
        iqn=lun.iqn,
        lun=1,
        chap=dataclasses.replace(chap, username=str(user)) if chap else None,
    )
    return dataclasses.replace(disk, address=address), target.add(lun)


def with_file(disk: Disk, directory: Path) -> Disk:
    """A file such as the runtime makes, where the session's QEMU may read it."""
    if not disk.file:
        return disk
    file = directory / uuid.uuid4().hex
    kind = "raw" if isinstance(disk.spec.source, CloudInitSource) else "qcow2"
    backing = ["-u", "-F", "raw", "-b", "json:{}"] if disk.address else []
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", kind, *backing, str(file), str(SIZE_BYTES)], check=True, timeout=30
    )
    file.chmod(0o666)
    return dataclasses.replace(disk, file=str(file))


BROAD = ("buses", "disk-fields", "files")
"""Between them every bus, every field of a disk and every kind of file; the others are run by name."""


@pytest.mark.parametrize(
    "case", [case if case in BROAD else pytest.param(case, marks=pytest.mark.slow) for case in cases.CASES]
)
def test_qemu_starts_every_golden(case: str, libvirt_driver: Any, libvirt_directory: Path, target: Target) -> None:
    import libvirt

    vm, found = cases.read(case)
    vm = dataclasses.replace(vm, memory_bytes=64 * 1024 * 1024)
    moved = [on_target(disk, target) for disk in found]
    disks = [with_file(disk, libvirt_directory) for disk, _ in moved]
    options = dataclasses.replace(cases.OPTIONS.get(case, cases.EMULATED), type="qemu", console_log=None)
    if options.network.startswith("bridge:"):
        options = dataclasses.replace(options, network="user")
    xml = domain_xml.render(vm, disks, options)
    secrets = []
    for usage in {disk.secret_usage for disk in disks if disk.secret_usage}:
        defined = libvirt_driver.secretDefineXML(
            f"<secret ephemeral='yes' private='yes'><usage type='iscsi'><target>{usage}</target></usage></secret>"
        )
        defined.setValue(PASSWORD.encode())
        secrets.append(defined)
    try:
        domain = libvirt_driver.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            assert PASSWORD not in domain.XMLDesc()
            live = markup.parse(domain.XMLDesc())
            aliases = [markup.get(disk, "alias", "name") for disk in live.iterfind("devices/disk")]
            assert sorted(map(str, aliases)) == sorted(f"ua-{disk.spec.name}" for disk in disks)
            assert all(target.sessions(lun) == 1 for _, lun in moved if lun)
        finally:
            domain.destroy()
    finally:
        for defined in secrets:
            defined.undefine()
