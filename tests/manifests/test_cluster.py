"""The CHAP variant of the demo on a whole Kubernetes: a login needs the Secret's credentials."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.embedded import Cluster
from cluster.errors import CommandFailed
from cluster.machine import shell
from tests.capabilities import need
from tests.manifests.test_manifests import MANIFESTS, of_kind

pytestmark = pytest.mark.cluster

NAME = "iscsi-demo-target-chap"


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> Iterator[str]:
    """The portal's address, reachable from this machine."""
    cluster.load("lundock/target:latest")
    cluster.kubectl("apply", "-f", MANIFESTS / f"{NAME}.yaml")
    try:
        cluster.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=180s")
        cluster.kubectl("wait", "pvc/disk-demo-chap", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
        yield cluster.kubectl("get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}").strip()
    finally:
        cluster.kubectl("delete", "-f", MANIFESTS / f"{NAME}.yaml", "--wait=false")


def look(address: str, credentials: str = "") -> str:
    """What libiscsi sees of the demo's LUN 4."""
    return shell.run("iscsi-inq", f"iscsi://{credentials}{address}/iqn.2017-01.io.kubevirt:sn.42/4", timeout_s=30)


def test_only_who_has_the_secret_gets_in(address: str) -> None:
    need("iscsi-ls")
    (secret,) = of_kind(f"{NAME}.yaml", "Secret")
    user, password = (secret["stringData"][f"node.session.auth.{key}"] for key in ("username", "password"))
    assert "Peripheral Device Type:DIRECT_ACCESS" in look(address, f"{user}%{password}@")
    for wrong in ("", f"{user}%not-the-password@"):
        with pytest.raises(CommandFailed):
            look(address, wrong)


def test_the_claim_is_bound_to_the_volume_with_the_secret(address: str, cluster: Cluster) -> None:
    bound = cluster.kubectl("get", "pvc", "disk-demo-chap", "-o", "jsonpath={.spec.volumeName}")
    assert bound == "iscsi-disk-demo-chap"
