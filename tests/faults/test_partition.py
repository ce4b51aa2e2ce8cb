"""The way between parts is cut: packets are dropped, and a name has no address."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.capabilities import need
from tests.faults.conftest import SWEEP
from tests.faults.tools import invariants
from tests.faults.tools.disks import Written
from tests.faults.tools.namespaces import Namespace, far_target, namespace
from tests.provisioner.stage import Process, Stage, TargetProcess
from tests.target_image.initiator import Login, Session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAME = "target.faults.test"
"""Under a top-level domain that no name server knows (RFC 6761)."""


@pytest.fixture
def far() -> Iterator[Namespace]:
    need("root", "iptables", "tgtd", "qemu-iscsi", "iscsi-ls")
    with namespace() as made:
        yield made


def test_a_partition_of_the_provisioner_and_a_vm_from_the_target(
    far: Namespace, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """For LUNDOCK_FAULT_PARTITION_S seconds. What was on its way is done once, and the VM's write arrives."""
    target = far_target(tmp_path, "target-0", far)
    stage = Stage(control_plane.kubeconfig, tmp_path, [target])
    stage.process = stage.provisioner(sweep=SWEEP, targetCalls={"timeoutSeconds": 2})
    try:
        target.up()
        stage.up()
        stage.claim("before")
        disk = invariants.disk_of(stage, stage.bound("before"))
        with Session(Login(disk.portal, disk.iqn, disk.user, disk.password)) as vm:
            vm.write(0, 4096, pattern=0x61)
            far.cut()
            writing = threading.Thread(target=vm.write, args=(4096, 4096, 0x62))
            writing.start()
            for number in range(5):
                stage.claim(f"cut-{number}")
            stage.wait_event("cut-0", "TargetDown: target target-0 does not answer", timeout_s=60)
            writing.join(timeout=float(os.environ.get("LUNDOCK_FAULT_PARTITION_S", "3")))
            assert writing.is_alive(), "no target can have acknowledged that"
            far.mend()
            writing.join(timeout=120)
            assert not writing.is_alive(), "the write goes on when the way is open again"
            vm.read(0, 4096, pattern=0x61)
            vm.read(4096, 4096, pattern=0x62)
        invariants.settled(stage, [target])
        invariants.strangers_stay_out(stage)
    finally:
        far.mend()
        stage.down()
        target.end()
        shutil.rmtree(target.run_dir, ignore_errors=True)


def test_a_name_that_is_not_resolved(control_plane: ControlPlane, target: TargetProcess, tmp_path: Path) -> None:
    """The provisioner knows its target by a name; for a while it cannot be resolved, and no connection is left."""
    need("root")
    names = tmp_path / "hosts"
    names.write_text(f"127.0.0.1 {NAME}\n")
    stage = Stage(control_plane.kubeconfig, tmp_path, [target])
    stage.config["targets"][0]["url"] = target.url.replace("127.0.0.1", NAME)
    stage.process = without_name_server(stage.provisioner(sweep=SWEEP), tmp_path, names)
    written = Written()
    try:
        stage.up()
        stage.claim("before")
        disk = invariants.disk_of(stage, stage.bound("before"))
        assert written.write(disk, 0, 0x71)
        names.write_text("")
        target.kill()
        target.up()
        stage.claim("waits")
        stage.wait_event("waits", "TargetDown: target target-0 does not answer", timeout_s=60)
        stage.claim("gone-meanwhile")
        stage.delete_claim("gone-meanwhile")
        names.write_text(f"127.0.0.1 {NAME}\n")
        stage.bound("waits")
        invariants.settled(stage, [target])
        written.verify(disk)
        invariants.strangers_stay_out(stage)
    finally:
        stage.down()


def without_name_server(process: Process, folder: Path, names: Path) -> Process:
    """The same process in a mount namespace where only this hosts file knows names: DNS is at a closed port."""
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
    own_mounts = ["unshare", "--mount", "sh", "-c", script, "sh", str(names), str(resolver)]
    return Process([*own_mounts, *process.argv], process.log)
