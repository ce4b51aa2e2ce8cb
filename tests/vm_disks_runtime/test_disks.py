"""Disks of every kind in a running guest: what it sees, and what it sees change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.guest import Guest
from tests.vm_disks_runtime.target import Lun, Target

pytestmark = pytest.mark.integration

MIB = 1024 * 1024


def test_every_kind_of_disk(
    boot: Callable[..., Guest], target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path
) -> None:
    luns = {
        "root": lun(),
        "data": lun(8 * MIB, chap=True),
        "raw": lun(9 * MIB),
        "archive": lun(10 * MIB),
        "media": lun(11 * MIB),
        "layer": lun(12 * MIB, chap=True),
    }
    disks: list[dict[str, Any]] = [
        {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
        {"name": "data", "disk": {"bus": "virtio"}, "serial": "DATA"},
        {"name": "raw", "lun": {}},
        {"name": "archive", "disk": {"bus": "virtio", "readonly": True}},
        {"name": "media", "cdrom": {"bus": "scsi"}},
        {"name": "layer", "disk": {"bus": "virtio"}},
        {"name": "scratch", "disk": {"bus": "virtio"}},
        {"name": "seed", "disk": {"bus": "virtio"}},
    ]
    volumes: list[dict[str, Any]] = [vms.from_claim(name, name) for name in luns if name != "layer"]
    volumes += [
        {"name": "layer", "ephemeral": {"persistentVolumeClaim": {"claimName": "layer"}}},
        {"name": "scratch", "emptyDisk": {"capacity": "7Mi"}},
        {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\nhostname: from-the-seed\n"}},
    ]
    objects = [one for name, its in luns.items() for one in vms.claim(name, target, its)]
    guest = boot(vms.write(tmp_path / "vm.json", [vms.vm(vm_name, disks, volumes), *objects]))

    guest.run("until test -e /sys/block/sr0; do usleep 100000; done")
    sizes = guest.run("for d in vda vdb sda vdc sr0 vdd vde; do echo $d=$(cat /sys/block/$d/size); done")
    expected = {"vda": 64, "vdb": 8, "sda": 9, "vdc": 10, "sr0": 11, "vdd": 12, "vde": 7}
    assert [line.strip() for line in sizes.split()] == [f"{name}={mib * 2048}" for name, mib in expected.items()]
    assert "DATA" in guest.run("cat /sys/block/vdb/serial")
    assert "TGT" not in guest.run("cat /sys/block/vdb/serial")
    assert "IET" in guest.run("cat /sys/block/sda/device/vendor"), "a lun passes the target's own SCSI answers through"
    assert guest.run("cat /sys/block/vdc/ro").strip() == "1"
    assert "from-the-seed" in guest.run("mkdir -p /m; head -c 400000 /dev/vdf | grep from-the-seed")

    guest.run("echo written-by-the-guest > /dev/vdb; echo only-in-the-layer > /dev/vdd; sync")
    assert luns["data"].file.read_bytes().startswith(b"written-by-the-guest")
    assert not luns["layer"].file.read_bytes().startswith(b"only-in-the-layer"), "an overlay spares the claim"
    files = Path("/var/lib/vm-disks") if os.geteuid() == 0 else Path.home() / ".local/state/vm-disks"
    assert (files / f"{vms.NAMESPACE}_{vm_name}").is_dir()
    guest.stop()
    assert not (files / f"{vms.NAMESPACE}_{vm_name}").exists(), "the local files end with the VM"


def test_hot_plug_growth_and_a_target_that_dies(
    boot: Callable[..., Guest], target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path
) -> None:
    root, data = lun(), lun(16 * MIB, chap=True)
    spec = vms.vm(vm_name, [{"name": "root", "disk": {"bus": "virtio"}}], [vms.from_claim("root", "root")])
    objects = [*vms.claim("root", target, root), *vms.claim("data", target, data)]
    guest = boot(vms.write(tmp_path / "vm.json", [spec, *objects]))

    for _ in range(2):
        guest.vm_disks("attach", "--claim", "data")
        assert target.sessions(data) == 1
        size = guest.run("until test -e /sys/block/sda; do usleep 100000; done; cat /sys/block/sda/size")
        assert size.strip() == str(16 * MIB // 512)
        again = vms.run("attach", *guest.files, "--claim", "data", uri=guest.uri, check=False)
        assert again.returncode == 1
        assert "already" in again.stderr
        guest.vm_disks("detach", "--claim", "data")
        assert target.sessions(data) == 0

    target.grow(root, 80 * MIB)
    assert str(80 * MIB) in guest.vm_disks("grow").stderr
    assert guest.run("cat /sys/block/vda/size").strip() == str(80 * MIB // 512)

    written = {}

    def write() -> None:
        written["out"] = guest.run(
            "dd if=/dev/zero of=/dev/vda bs=64k seek=1040 count=200 conv=fsync 2>&1; "
            "dmesg | grep -ci 'i/o error'; true",
            180,
        )

    thread = threading.Thread(target=write)
    target.kill()
    thread.start()
    time.sleep(3)  # not for a condition: the target is away for this long while the guest writes
    target.start()
    thread.join()
    assert "200+0 records out" in written["out"]
    assert written["out"].strip().splitlines()[-1].strip() == "0", "the guest saw no I/O error"
