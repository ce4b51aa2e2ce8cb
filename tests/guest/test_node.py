"""A node mounts what the provisioner made: kubelet's steps on the PV and the Secret of a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.capabilities import need
from tests.guest.initiator import IscsiVolume, attach, detach, format_and_mount, own_address
from tests.guest.machine import Machine
from tests.provisioner.stage import Stage, TargetProcess

pytestmark = [pytest.mark.guest, pytest.mark.cluster]

INITIATOR = "iqn.2026-11.io.lundock:guest"


@pytest.fixture
def stage(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Stage]:
    """As with a target on the host's network: its portal is an address that it owns itself."""
    need("tgtd")
    target = TargetProcess(tmp_path, "target-0")
    target.argv.append(f"--iscsi-addresses={own_address()}")
    try:
        target.up()
        stage = Stage(control_plane.kubeconfig, tmp_path, [target])
        stage.up()
        yield stage
        stage.down()
    finally:
        target.end()


def test_a_node_mounts_a_claims_volume(guest: Machine, stage: Stage) -> None:
    portal = f"{own_address()}:{stage.targets[0].iscsi_port}"
    named = stage.make_class(
        f"{stage.id}-nodes", {"initiators": INITIATOR, "portal": portal, "chap": "mutual", "fsType": "xfs"}
    )
    stage.claim("data", "512Mi", storageClassName=named)
    persistent_volume = stage.bound("data")
    volume = IscsiVolume.of(persistent_volume, stage.secret(persistent_volume))
    assert volume.portals == (portal,)
    try:
        [device] = attach(guest, volume)
        format_and_mount(guest, device, "/mnt/volume", persistent_volume["spec"]["iscsi"]["fsType"])
        guest.run("echo from-the-node >/mnt/volume/file && umount /mnt/volume")
        detach(guest, volume)
        [device] = attach(guest, volume)
        format_and_mount(guest, device, "/mnt/volume", "xfs")
        assert guest.run("cat /mnt/volume/file").stdout == "from-the-node\n"
    finally:
        guest.run("umount /mnt/volume", check=False)
        detach(guest, volume)
