"""The manifest and the commands of 2017, and what 2017 could not: a VM spec that names only the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.embedded import Cluster
from cluster.places import REPOSITORY
from cluster.terminal import follow
from tests.end_to_end.conftest import BOOT_TIMEOUT_S

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

MANIFEST = REPOSITORY / "manifests" / "iscsi-demo-target-tgtd.yaml"
QEMU = "qemu-system-x86_64 -snapshot -nographic -drive"
LUN = "file=iscsi://iscsi-demo-target/iqn.2017-01.io.kubevirt:sn.42/2"


@pytest.fixture(scope="module")
def demo(node: Cluster) -> Iterator[Cluster]:
    node.kubectl("apply", "-f", MANIFEST)
    try:
        node.kubectl("wait", "pod/iscsi-demo-target-tgtd", "--for=condition=Ready", "--timeout=180s")
        yield node
    finally:
        node.kubectl("delete", "-f", MANIFEST, "--timeout=120s")


def test_its_claims_are_bound(demo: Cluster) -> None:
    for claim in ("disk-custom", "disk-alpine", "disk-cirros", "disk-demo"):
        demo.kubectl("wait", f"pvc/{claim}", "--for=jsonpath={.status.phase}=Bound", "--timeout=120s")


def test_the_command_of_2017_reaches_a_login_prompt_in_a_pod(demo: Cluster) -> None:
    """Attached, as `-it` is: a pod's log shows a line only when it has ended, and a prompt has no end."""
    image = ("--image=lundock/runner", "--image-pull-policy=Never", "--restart=Never")
    kubectl = (str(demo.binaries.path("kubectl")), f"--kubeconfig={demo.kubeconfig}")
    argv = [*kubectl, "run", "--rm", "-i", "qemu-test", *image, "--", *QEMU.split(), LUN]
    try:
        follow(argv, until="lundock-demo login:", timeout_s=BOOT_TIMEOUT_S)
    finally:
        demo.kubectl("delete", "pod", "qemu-test", "--grace-period=1", "--ignore-not-found", "--timeout=60s")


def test_a_vm_that_names_the_claim_disk_alpine_boots(demo: Cluster, boot: Callable[[Path], str]) -> None:
    assert "lundock-demo login:" in boot(REPOSITORY / "manifests" / "vm-disk-alpine.yaml")
