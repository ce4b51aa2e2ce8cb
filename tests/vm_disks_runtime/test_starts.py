"""Starts that don't go well, that meet, or that reach their LUN otherwise. QEMU's login is enough: no guest boots."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.machine.ports import free_ports
from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.target import Lun, Target
from tests.vm_disks_runtime.test_boot import virsh
from tests.waiting import eventually
from vm_disks.runtime import state

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
ROOT = [{"name": "root", "disk": {"bus": "virtio"}}]


@pytest.fixture
def files(tmp_path: Path, uri: str, vm_name: str) -> Iterator[Callable[..., tuple[str, ...]]]:
    """Writes a VM with a claim `root`, and whatever else; ends it afterwards."""
    written: list[str] = []

    def write(claims: list[Any], disks: Any = (), volumes: Any = (), **domain: Any) -> tuple[str, ...]:
        spec = vms.vm(vm_name, [*ROOT, *disks], [vms.from_claim("root", "root"), *volumes], **domain)
        spec["spec"]["template"]["spec"]["domain"]["memory"] = {"guest": "32Mi"}
        written[:] = ["-f", str(vms.write(tmp_path / "vm.json", [spec, *claims]))]
        return tuple(written)

    yield write
    vms.run("stop", *written, "--grace", "0", uri=uri)


def domain_of(vm_name: str) -> str:
    return f"{vms.NAMESPACE}_{vm_name}"


def test_a_vm_without_a_console_starts(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, files: Callable[..., tuple[str, ...]]
) -> None:
    disk = lun(MIB)
    vm = files(vms.claim("root", target, disk))
    spec = Path(vm[1])
    text = spec.read_text().replace('"devices": {', '"devices": {"autoattachSerialConsole": false, ')
    spec.write_text(text)

    refused = vms.run("start", *vm, "--until", "login:", uri=uri, check=False)
    assert refused.returncode == 1
    assert "autoattachSerialConsole: false" in refused.stderr
    assert target.sessions(disk) == 0

    vms.run("start", *vm, uri=uri)
    assert target.sessions(disk) == 1
    assert virsh(uri, "domstate", domain_of(vm_name)).strip() == "running"


def test_of_two_starts_at_once_one_runs_the_vm_with_its_own_files(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, files: Callable[..., tuple[str, ...]]
) -> None:
    scratch = {"name": "scratch", "emptyDisk": {"capacity": "1Mi"}}
    vm = files(vms.claim("root", target, lun(MIB)), [{"name": "scratch", "disk": {"bus": "virtio"}}], [scratch])
    command = [sys.executable, "-m", "vm_disks", "start", *vm, "-c", uri]
    starts = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [one.communicate(timeout=200)[1] for one in starts]

    assert sorted(one.returncode for one in starts) == [0, 1, 1], said
    assert all("already" in words for words, one in zip(said, starts, strict=True) if one.returncode), said
    file = state.directory(domain_of(vm_name)) / "scratch.qcow2"
    opened = {os.path.realpath(link) for link in Path("/proc").glob("[0-9]*/fd/*") if _points_to(link, file)}
    assert opened == {str(file)}, "the running VM has the file that is there"
    assert not state.is_starting(_place(uri), domain_of(vm_name))


def _points_to(link: Path, file: Path) -> bool:
    try:
        return link.samefile(file)
    except OSError:
        return False


def _place(uri: str) -> str:
    from vm_disks.runtime.hypervisor import Hypervisor

    with Hypervisor(uri) as hypervisor:
        return hypervisor.place


def test_a_secret_that_a_killed_start_left_is_no_obstacle(
    uri: str,
    target: Target,
    lun: Callable[..., Lun],
    vm_name: str,
    files: Callable[..., tuple[str, ...]],
    tmp_path: Path,
) -> None:
    usage = f"lundock:{vms.NAMESPACE}:{vm_name}:root"
    left = tmp_path / "secret.xml"
    left.write_text(
        f"<secret ephemeral='yes' private='yes'><usage type='iscsi'><target>{usage}</target></usage></secret>"
    )
    virsh(uri, "secret-define", str(left))
    disk = lun(MIB, chap=True)
    vms.run("start", *files(vms.claim("root", target, disk)), uri=uri)
    assert target.sessions(disk) == 1
    assert usage not in virsh(uri, "secret-list")


def test_a_refused_start_leaves_no_secret_no_file_and_no_lock(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, files: Callable[..., tuple[str, ...]]
) -> None:
    disk = lun(MIB, chap=True)
    scratch = {"name": "scratch", "emptyDisk": {"capacity": "1Mi"}}
    wrong = dataclasses.replace(disk, password="not-the-password")
    vm = files(vms.claim("root", target, wrong), [{"name": "scratch", "disk": {"bus": "virtio"}}], [scratch])
    refused = vms.run("start", *vm, uri=uri, check=False)
    assert refused.returncode == 1
    assert "not-the-password" not in refused.stderr
    assert vm_name not in virsh(uri, "secret-list") + virsh(uri, "list", "--all", "--name")
    assert not [file for file in state.root().rglob("*") if vm_name in str(file)]


def test_a_start_that_is_told_to_end_gives_back_what_it_took(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, files: Callable[..., tuple[str, ...]]
) -> None:
    """SIGTERM while it makes files: a named pipe in place of qemu-img holds it there."""
    scratch = {"name": "scratch", "emptyDisk": {"capacity": "1Mi"}}
    vm = files(vms.claim("root", target, lun(MIB)), [{"name": "scratch", "disk": {"bus": "virtio"}}], [scratch])
    tools = Path(vm[1]).parent / "tools"
    tools.mkdir()
    (tools / "qemu-img").write_text("#!/bin/sh\nexec sleep 60\n")
    (tools / "qemu-img").chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "vm_disks", "start", *vm, "-c", uri]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as start:
        scratch_disk = state.directory(domain_of(vm_name)) / "scratch.qcow2"
        eventually(scratch_disk.exists, "the start to make its files")
        start.terminate()
        assert start.wait(60) == 143
    assert not [file for file in state.root().rglob("*") if vm_name in str(file)]


def test_the_first_portal_that_answers_is_used_and_said(
    uri: str, target: Target, lun: Callable[..., Lun], files: Callable[..., tuple[str, ...]]
) -> None:
    disk = lun(MIB)
    claims = vms.claim("root", target, disk)
    iscsi = claims[0]["spec"]["iscsi"]
    dead = f"127.0.0.1:{free_ports()}"
    iscsi |= {"targetPortal": dead, "portals": [dead, target.portal]}
    vm = files(claims)
    checked = vms.run("check", *vm, uri=uri).stdout
    assert f"at {target.portal}: logged in, {MIB} bytes" in checked
    tried = vms.run("start", *vm, "--dry-run", uri=uri).stdout
    assert f'port="{target.port}"' in tried
    assert tried.startswith("<domain")
    assert target.sessions(disk) == 0
    started = vms.run("start", *vm, uri=uri)
    assert f"portal {dead} does not answer; using {target.portal}" in started.stderr
    assert target.sessions(disk) == 1


def test_over_ipv6(uri: str, tmp_path: Path, lun: Callable[..., Lun], files: Callable[..., tuple[str, ...]]) -> None:
    directory = tmp_path / "v6"
    directory.mkdir()
    target = Target(directory, host="::1")
    target.start()
    try:
        disk = target.add(dataclasses.replace(lun(MIB), user="u6", password="p6-secret"))
        vm = files(vms.claim("root", target, disk))
        assert f"at [::1]:{target.port}: logged in with CHAP" in vms.run("check", *vm, uri=uri).stdout
        vms.run("start", *vm, uri=uri)
        assert target.sessions(disk) == 1
    finally:
        target.kill()


def test_the_initiators_name_is_the_pvs(
    uri: str, target: Target, lun: Callable[..., Lun], files: Callable[..., tuple[str, ...]], vm_name: str
) -> None:
    name = "iqn.2026-11.io.lundock:only-this-one"
    disk = dataclasses.replace(lun(MIB), iqn=f"iqn.2026-11.io.lundock:{vm_name}", initiator=name)
    target.add(disk)
    claims = vms.claim("root", target, disk)
    assert vms.run("check", *files(claims), uri=uri, check=False).returncode == 1
    claims[0]["spec"]["iscsi"]["initiatorName"] = name
    vm = files(claims)
    assert "logged in" in vms.run("check", *vm, uri=uri).stdout
    vms.run("start", *vm, uri=uri)
    assert target.sessions(disk) == 1


def test_what_is_plugged_in_grows_and_stays_and_is_let_go_of_by_its_name(
    uri: str, target: Target, lun: Callable[..., Lun], files: Callable[..., tuple[str, ...]]
) -> None:
    root, data = lun(MIB), lun(2 * MIB, chap=True)
    vm = files([*vms.claim("root", target, root), *vms.claim("data", target, data)])
    vms.run("start", *vm, uri=uri)
    vms.run("attach", *vm, "--claim", "data", "--disk", "more", uri=uri)

    def said(*arguments: str) -> str:
        refused = vms.run(*arguments, *vm, uri=uri, check=False)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        return refused.stderr

    assert "has claim data already: it is the LUN of sda" in said("attach", "--claim", "data", "--disk", "again")
    assert "has claim root already: it is the LUN of vda" in said("attach", "--claim", "root", "--disk", "again")
    assert "--disk: 'a b' is not a name" in said("attach", "--claim", "data", "--disk", "a b")
    assert "no disk root of claim data; it has root (claim root), more (claim data)" in said(
        "detach", "--claim", "data", "--disk", "root"
    )
    assert "attached disk more: claim data is ReadWriteOnce" in _without_root(said, vm, uri)
    target.grow(data, 4 * MIB)
    assert f"disk more (sda) grew from {2 * MIB} to {4 * MIB} bytes" in vms.run("grow", *vm, uri=uri).stderr


def _without_root(said: Callable[..., str], vm: tuple[str, ...], uri: str) -> str:
    """migrate, with the VM's own claim as one that may move."""
    file = Path(vm[1])
    before = file.read_text()
    objects = before.replace("ReadWriteOnce", "ReadWriteMany", 2)
    file.write_text(objects)
    try:
        return said("migrate", "--to", uri)
    finally:
        file.write_text(before)
