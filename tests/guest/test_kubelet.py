"""kubelet itself mounts what the provisioner made: its in-tree iSCSI plugin, the kernel's initiator, a pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.capabilities import need
from tests.guest.initiator import own_address
from tests.guest.kubelet import NODE, joined
from tests.guest.machine import Machine
from tests.guest.test_node import INITIATOR, stage  # noqa: F401 - a fixture
from tests.provisioner.stage import Stage
from tests.waiting import eventually

pytestmark = [pytest.mark.guest, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

MOUNT = "$(findmnt -rno TARGET | grep 'kubernetes.io~iscsi/pvc-' | tail -1)"


@pytest.fixture
def image(guest: Machine, control_plane: ControlPlane, tmp_path: Path) -> Iterator[str]:
    """Of a container that does nothing; the guest is a node of the control plane meanwhile."""
    need("docker")
    with joined(guest, control_plane, tmp_path) as name:
        yield name


def pod(name: str, claim: str, image: str) -> dict[str, object]:
    """On the guest, whatever its taints say; on its network, for it has no other."""
    container = {
        "name": "pause",
        "image": image,
        "imagePullPolicy": "Never",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": NODE,
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def test_kubelet_mounts_a_claim_for_a_pod(
    guest: Machine,
    control_plane: ControlPlane,
    stage: Stage,  # noqa: F811
    image: str,
) -> None:
    [target] = stage.targets
    portal = f"{own_address()}:{target.iscsi_port}"
    parameters = {"initiators": INITIATOR, "portal": portal, "chap": "mutual", "fsType": "xfs"}
    stage.claim("data", "512Mi", storageClassName=stage.make_class(f"{stage.id}-kubelet", parameters))
    stage.bound("data")

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return control_plane.kubectl("-n", stage.namespace, *arguments, stdin=stdin)

    def while_a_pod_runs(name: str, command: str) -> str:
        """What the command prints on the node; afterwards the pod is gone, and kubelet has logged out."""
        kubectl("create", "-f", "-", stdin=json.dumps(pod(name, "data", image)))
        status = ("get", "pod", name, "-o", "jsonpath={.status.phase}")
        eventually(lambda: kubectl(*status) == "Running", f"pod {name} to run", 300)
        assert len(target.client.sessions()) == 1
        printed = guest.run(command).stdout
        kubectl("delete", "pod", name)
        eventually(lambda: not target.client.sessions(), "kubelet to log out", 120)
        return printed

    assert while_a_pod_runs("first", f"echo by-kubelet >{MOUNT}/file && findmnt -rno FSTYPE {MOUNT}") == "xfs\n"
    assert while_a_pod_runs("second", f"cat {MOUNT}/file") == "by-kubelet\n"
