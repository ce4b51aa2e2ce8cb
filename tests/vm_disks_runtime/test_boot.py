"""A VM boots from its claim, on a real libvirt, from a real target."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.target import Lun, Target

pytestmark = pytest.mark.integration


def virsh(uri: str, *arguments: str) -> str:
    done = subprocess.run(["virsh", "-c", uri, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_boots_with_chap_and_leaves_nothing(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path
) -> None:
    disk = lun(chap=True)
    spec = vms.vm(vm_name, [{"name": "root", "disk": {"bus": "virtio"}}], [vms.from_claim("root", "root")])
    files = ("-f", str(vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, disk)])))
    domain = f"{vms.NAMESPACE}_{vm_name}"

    started = vms.run("start", *files, "--until", "login:", "--timeout", "240", uri=uri)
    try:
        assert "login:" in started.stdout
        assert target.sessions(disk) == 1
        assert domain in virsh(uri, "list", "--name", "--transient")
        assert disk.password
        assert disk.password not in virsh(uri, "dumpxml", "--security-info", domain) + started.stdout + started.stderr
        again = vms.run("start", *files, uri=uri, check=False)
        assert again.returncode == 1
        assert "already" in again.stderr
    finally:
        stopped = vms.run("stop", *files, "--grace", "60", uri=uri)
    assert f"stopped {domain}" in stopped.stderr, "the guest obeys the power button"
    assert domain not in virsh(uri, "list", "--all", "--name")
    assert disk.iqn not in virsh(uri, "secret-list")
    assert vm_name not in virsh(uri, "secret-list")
    assert "does not run" in vms.run("stop", *files, uri=uri).stderr


def test_a_wrong_password_is_an_error_and_leaves_nothing(
    uri: str, target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path
) -> None:
    disk = lun(chap=True)
    wrong = Lun(disk.iqn, disk.file, disk.user, "not-the-password")
    spec = vms.vm(vm_name, [{"name": "root", "disk": {}}], [vms.from_claim("root", "root")])
    file = vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, wrong)])

    refused = vms.run("start", "-f", str(file), uri=uri, check=False)

    assert refused.returncode == 1
    assert "not-the-password" not in refused.stderr
    assert "Traceback" not in refused.stderr
    assert vm_name not in virsh(uri, "list", "--all", "--name")


def test_a_dead_portal_is_named(lun: Callable[..., Lun], target: Target, vm_name: str, tmp_path: Path) -> None:
    disk = lun()
    spec = vms.vm(vm_name, [{"name": "root", "disk": {}}], [vms.from_claim("root", "root")])
    file = vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, disk)])
    target.kill()

    refused = vms.run("start", "-f", str(file), check=False)

    assert refused.returncode == 1
    assert f"127.0.0.1:{target.port}" in refused.stderr
    assert "claim root" in refused.stderr
