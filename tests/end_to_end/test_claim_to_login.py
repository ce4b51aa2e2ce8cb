"""A VM boots from a disk that is named only as a claim: as a libvirt domain, and as a pod of the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.embedded import Cluster
from cluster.machine.waiting import wait_for
from cluster.places import REPOSITORY
from tests.end_to_end.conftest import BOOT_TIMEOUT_S, VmDisks

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

MANIFESTS = REPOSITORY / "manifests"
Json = dict[str, object]


@pytest.fixture(scope="module")
def volume(node: Cluster, release: str) -> Iterator[str]:
    """The claim of manifests/claim.yaml, Bound; deleted afterwards, and then the volume has to be gone."""
    node.kubectl("apply", "-f", MANIFESTS / "claim.yaml")
    node.kubectl("wait", "pvc/vm-disk", "--for=jsonpath={.status.phase}=Bound", "--timeout=180s")
    name = node.kubectl("get", "pvc", "vm-disk", "-o", "jsonpath={.spec.volumeName}")
    assert name in volumes_of_the_target(node, release)
    yield name
    node.kubectl("delete", "-f", MANIFESTS / "claim.yaml", "--timeout=120s")
    node.kubectl("wait", f"pv/{name}", "--for=delete", "--timeout=120s")
    assert name not in volumes_of_the_target(node, release)
    assert not node.kubectl("get", "secret", f"{name}-chap", "--ignore-not-found")


def volumes_of_the_target(node: Cluster, release: str) -> str:
    return node.kubectl("-n", release, "exec", "lundock-target-0", "--", "lundock-target", "volumes", "list")


def test_a_domain_boots_from_the_claim(volume: str, boot: Callable[[Path], str], vm_disks: VmDisks) -> None:
    console = boot(MANIFESTS / "vm.yaml")
    assert "<- booted from this one" in console
    assert "lundock-demo login:" in console
    stopped = vm_disks("stop", "-f", MANIFESTS / "vm.yaml")
    assert "stopped default_vm" in stopped.stderr, "the guest obeys its power button"


def test_a_pod_boots_from_the_claim(volume: str, node: Cluster) -> None:
    node.kubectl("apply", "-f", MANIFESTS / "vm-pod.yaml")
    try:
        assert wait_for(lambda: "lundock-demo login:" in _log(node, "vm"), BOOT_TIMEOUT_S), _log(node, "vm")
        pod = json.loads(node.kubectl("get", "pod", "vm", "-o", "json"))
        assert not any("persistentVolumeClaim" in volume for volume in pod["spec"]["volumes"])
    finally:
        node.kubectl("delete", "-f", MANIFESTS / "vm-pod.yaml", "--timeout=150s")


def _log(node: Cluster, pod: str) -> str:
    phase = node.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}")
    return "" if phase == "Pending" else node.kubectl("logs", pod)
