"""A VM moves between two libvirt daemons while it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.capabilities import need
from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.guest import Guest
from tests.vm_disks_runtime.target import Lun, Target
from tests.waiting import eventually

pytestmark = pytest.mark.integration

# Its own state, and no virtlogd: two daemons of one host would otherwise share both.
SECOND = """
for place in /run/libvirt /var/lib/libvirt /var/log/libvirt; do mkdir -p $place; mount -t tmpfs none $place; done
mkdir -p /var/lib/libvirt/qemu /var/log/libvirt/qemu
mount --bind "$1/qemu.conf" /etc/libvirt/qemu.conf
exec libvirtd -f "$1/libvirtd.conf" -p "$1/libvirtd.pid"
"""


@pytest.fixture
def second_libvirt() -> Iterator[str]:
    need("libvirtd", "root")
    directory = Path("/tmp") / f"vmd-{uuid.uuid4().hex[:8]}"  # noqa: S108 (a socket's path must be short)
    directory.mkdir()
    (directory / "qemu.conf").write_text('stdio_handler = "file"\n')
    # The same machine on purpose: libvirt refuses to migrate to where it is, and knows that by this UUID.
    settings = f'unix_sock_dir = "{directory}"\nauth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\n'
    (directory / "libvirtd.conf").write_text(settings)
    command = ["unshare", "--mount", "sh", "-c", SECOND, "sh", str(directory)]
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    uri = f"qemu+unix:///system?socket={directory}/libvirt-sock"

    def answers() -> bool:
        assert daemon.poll() is None, (directory / "log").read_text()
        version = subprocess.run(["virsh", "-c", uri, "version"], capture_output=True, timeout=30, check=False)
        return version.returncode == 0

    eventually(answers, "the second libvirtd to answer")
    yield uri
    os.killpg(daemon.pid, signal.SIGTERM)
    daemon.wait(30)
    shutil.rmtree(directory)


def test_moves_with_its_disk_and_its_memory(
    boot: Callable[..., Guest],
    second_libvirt: str,
    target: Target,
    lun: Callable[..., Lun],
    vm_name: str,
    tmp_path: Path,
) -> None:
    disk = lun(chap=True)
    spec = vms.vm(vm_name, [{"name": "root", "disk": {"bus": "virtio"}}], [vms.from_claim("root", "root")])
    guest = boot(vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, disk, mode="ReadWriteMany")]))
    first = guest.uri
    guest.run("echo in-memory > /run/note")

    guest.vm_disks("migrate", "--to", second_libvirt, "--via", "tcp://127.0.0.1")
    try:
        guest.uri = second_libvirt
        assert "in-memory" in guest.run("cat /run/note")
        guest.run("dd if=/dev/vda of=/dev/null bs=64k count=8 iflag=direct")
        listed = subprocess.run(
            ["virsh", "-c", first, "list", "--all", "--name"], capture_output=True, text=True, timeout=30, check=True
        )
        assert vm_name not in listed.stdout
        secrets = subprocess.run(
            ["virsh", "-c", second_libvirt, "secret-list"], capture_output=True, text=True, timeout=30, check=True
        )
        assert vm_name not in secrets.stdout
    finally:
        guest.stop()
        guest.uri = first


def test_a_claim_of_one_writer_stays(target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path) -> None:
    spec = vms.vm(vm_name, [{"name": "root", "disk": {}}], [vms.from_claim("root", "root")])
    file = vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, lun(1024 * 1024))])

    refused = vms.run("migrate", "-f", str(file), "--to", "qemu:///nowhere", check=False)

    assert refused.returncode == 1
    assert "claim root is ReadWriteOnce" in refused.stderr
