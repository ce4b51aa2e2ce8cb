"""A real VM writes without a pause while everything that can happen to its claims happens; it is none the wiser."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from lundock_common import quantity
from lundock_common.kubernetes_api import Json
from tests.capabilities import need
from tests.faults.test_crash_points import is_gone
from tests.faults.tools import invariants
from tests.provisioner.stage import Stage, TargetProcess
from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.conftest import boot, demo_disk, uri, vm_name  # noqa: F401 - fixtures
from tests.vm_disks_runtime.guest import Guest
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.integration, pytest.mark.timeout(1800)]

MIB = 2**20
BLOCK_BYTES, BLOCKS = 512, 2000
CLAIMS = {"root": "80Mi", "data": "16Mi", "doomed": "16Mi"}
DEVICES = {"data": "vdb", "doomed": "vdc"}
GRACE_S = 40
"""How long a started target waits for those who are on their way back, before it lets anything be deleted."""


class Writer:
    """A loop in the guest's shell: numbers, each in a block of its own, each synced before the next."""

    def __init__(self, guest: Guest, device: str) -> None:
        self._guest, self._notes = guest, f"/run/{device}"
        block = f"dd of=/dev/{device} bs={BLOCK_BYTES} seek=$((i % {BLOCKS})) conv=fsync,notrunc 2>/dev/null"
        write = f"printf '%-{BLOCK_BYTES}s' $i | {block} && echo $i >>acknowledged || touch failed"
        loop = f"i=0; while ! test -e stop; do i=$((i+1)); {write}; done; touch stopped"
        guest.run(
            f"mkdir {self._notes} && echo 0 >{self._notes}/acknowledged && "
            f"( (cd {self._notes}; {loop}) </dev/null >/dev/null 2>&1 &)"
        )
        self.goes_on()

    def acknowledged(self) -> int:
        """The last number whose sync was answered; every one before it was, too."""
        said = self._guest.run(f"ls {self._notes} | tr '\\n' ' '; tail -n 1 {self._notes}/acknowledged").split()
        assert "failed" not in said, "a write of the guest failed"
        return int(said[-1])

    def goes_on(self) -> None:
        before = self.acknowledged()
        eventually(lambda: self.acknowledged() > before + 2, "the guest to write on", 180)

    def stop(self) -> int:
        self._guest.run(f"touch {self._notes}/stop; until test -e {self._notes}/stopped; do usleep 100000; done", 180)
        return self.acknowledged()


def assert_written(backing_file: Path, last: int) -> None:
    """Every acknowledged number is in its block, or the number that came there later."""
    data = backing_file.read_bytes()
    for block in range(min(last + 1, BLOCKS)):
        newest = last - (last - block) % BLOCKS
        if newest > 0:
            found = data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES].decode(errors="replace").strip()
            assert found == str(newest), f"block {block} holds {found!r} and not the acknowledged {newest}"


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[TargetProcess]:
    """A target with a grace time for deletions after its start, as the chart's has."""
    need("tgtd", "qemu-iscsi", "iscsi-ls")
    target = TargetProcess(tmp_path, "target-0", f"--delete-grace-s={GRACE_S}")
    target.up()
    yield target
    target.end()
    shutil.rmtree(target.run_dir, ignore_errors=True)


@pytest.fixture
def claimed(control_plane: ControlPlane, patient: TargetProcess, tmp_path: Path) -> Iterator[Stage]:
    """A stage with a Bound claim for each disk of the VM."""
    stage = Stage(control_plane.kubeconfig, tmp_path, [patient])
    try:
        stage.up()
        for name, size in CLAIMS.items():
            stage.claim(name, size)
        for name in CLAIMS:
            stage.bound(name)
        yield stage
    finally:
        stage.down()


def test_the_vm_writes_on(
    claimed: Stage,
    patient: TargetProcess,
    boot: Callable[..., Guest],  # noqa: F811
    demo_disk: Path,  # noqa: F811
    vm_name: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    stage, pvs = claimed, {name: claimed.bound(name) for name in CLAIMS}
    copy = ["dd", f"if={demo_disk}", f"of={backing_file(patient, pvs['root'])}", "bs=1M", "conv=notrunc,sparse"]
    subprocess.run(copy, check=True, capture_output=True, timeout=60)
    guest = boot(manifests(stage, vm_name, pvs, tmp_path / "vm.json"))
    writers = {name: Writer(guest, device) for name, device in DEVICES.items()}

    def everyone_goes_on() -> None:
        for writer in writers.values():
            writer.goes_on()

    patient.kill()
    patient.up()
    everyone_goes_on()

    move(patient, tmp_path / "elsewhere")
    everyone_goes_on()

    secret = stage.secret(pvs["data"])
    stage.patch_claim("data", {"metadata": {"annotations": {"lundock.io/rotate-chap": "now"}}})
    stage.wait_event("data", "CHAPRotationWaiting", timeout_s=60)
    assert stage.secret(pvs["data"]) == secret, "the password that the VM has is the one in force"
    stage.patch_claim("data", {"spec": {"resources": {"requests": {"storage": "24Mi"}}}})
    stage.wait_event("data", "GrowInUse", timeout_s=60)
    everyone_goes_on()

    stage.delete_claim("doomed")
    stage.wait_event(pvs["doomed"]["metadata"]["name"], "InUse", namespace="default", timeout_s=GRACE_S + 60)
    everyone_goes_on()
    patient.kill()
    patient.up()
    everyone_goes_on()

    for name, writer in writers.items():
        assert_written(backing_file(patient, pvs[name]), writer.stop())
    assert guest.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"
    guest.stop()

    eventually(lambda: is_gone(stage, "doomed"), "the deleted claim's volume to go", GRACE_S + 120)
    stage.wait_event("data", "CHAPRotated", timeout_s=60)
    stage.wait_event("data", "VolumeResizeSuccessful", timeout_s=60)
    changed = stage.secret(pvs["data"])
    assert changed is not None
    assert secret is not None
    assert changed["data"] != secret["data"]
    assert backing_file(patient, pvs["data"]).stat().st_size == quantity.parse("24Mi")
    invariants.settled(stage, [patient])
    invariants.strangers_stay_out(stage)


def backing_file(target: TargetProcess, pv: Json) -> Path:
    return target.data_dir / "volumes" / f"{pv['metadata']['name']}.raw"


def manifests(stage: Stage, vm_name: str, pvs: dict[str, Json], path: Path) -> Path:  # noqa: F811
    """The VM, and its claims as the cluster has them."""
    disks = [{"name": name, "disk": {"bus": "virtio"}} for name in CLAIMS]
    vm = vms.vm(vm_name, disks, [vms.from_claim(name, name) for name in CLAIMS])
    vm["metadata"]["namespace"] = stage.namespace
    objects = [vm]
    for name, pv in pvs.items():
        for kind, found in (
            ("PersistentVolumeClaim", stage.get_claim(name)),
            ("PersistentVolume", pv),
            ("Secret", stage.secret(pv)),
        ):
            assert found is not None
            objects.append({"apiVersion": "v1", "kind": kind, **found})
    return vms.write(path, objects)


def move(target: TargetProcess, folder: Path) -> None:
    """To another place with all its data, behind the same address: what a pod does that goes to another node."""
    target.kill()
    target.data_dir.rename(folder)
    target.argv = [f"--data-dir={folder}" if word.startswith("--data-dir=") else word for word in target.argv]
    target.data_dir = folder
    target.up()
