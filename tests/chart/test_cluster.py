"""The chart on a whole Kubernetes: its pods run in the restricted standard, claims become LUNs, upgrades keep them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster.embedded import Cluster
from tests.chart.helm import Helm
from tests.chart.whole import READY, Installed, installed

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def release(helm: Helm, cluster: Cluster) -> Iterator[Installed]:
    """The chart's defaults with small sizes."""
    with installed(helm, cluster, "whole") as release:
        yield release


def test_a_claim_becomes_a_lun_behind_the_portal_that_stays(release: Installed) -> None:
    iscsi = release.claim("chart-lun")["spec"]["iscsi"]
    uid = release.get("pvc", "chart-lun", "default")["metadata"]["uid"]
    assert iscsi["targetPortal"] == "whole-lundock-target-0.chart-whole.svc.cluster.local:3260"
    assert iscsi["iqn"] == f"iqn.2026-11.io.lundock:pvc-{uid}"
    assert iscsi["secretRef"] == {"name": f"pvc-{uid}-chap", "namespace": "default"}
    assert release.get("secret", f"pvc-{uid}-chap", "default")["type"] == "kubernetes.io/iscsi-chap"
    release.delete_claim("chart-lun")


def test_helm_test_writes_to_a_claims_lun_and_reads_it_back(release: Installed, cluster: Cluster) -> None:
    log = release.test()
    print(log)
    assert "read 1048576/1048576 bytes at offset 0" in log
    assert "the volume keeps what is written to it" in log
    where = ("-n", release.namespace, "--ignore-not-found")
    assert not cluster.kubectl("get", "pvc,role,configmap", "whole-lundock-test", *where)


def test_the_agents_commands_work_in_its_pod(release: Installed, cluster: Cluster) -> None:
    volume = release.claim("chart-listed")["metadata"]["name"]
    command = ("lundock-target", "volumes", "list", "-o", "json")
    listed = json.loads(cluster.kubectl("exec", f"{release.target}-0", "-n", release.namespace, "--", *command))
    assert volume in [entry["id"] for entry in listed]
    release.delete_claim("chart-listed")


def test_an_upgrade_keeps_volume_portal_and_password(release: Installed) -> None:
    before = release.claim("chart-kept")
    secret = before["spec"]["iscsi"]["secretRef"]["name"]
    password = release.get("secret", secret, "default")["data"]
    pod = release.get("pod", f"{release.target}-0")["metadata"]["uid"]
    release.upgrade(podAnnotations={"upgraded": "yes"})
    assert release.get("pod", f"{release.target}-0")["metadata"]["uid"] != pod
    assert release.get("pv", before["metadata"]["name"])["spec"]["iscsi"] == before["spec"]["iscsi"]
    assert release.get("secret", secret, "default")["data"] == password
    release.delete_claim("chart-kept")


def test_installing_again_serves_the_volumes_that_were_left(release: Installed) -> None:
    volume = release.claim("chart-left")
    portal = release.get("service", f"{release.target}-0")["spec"]["clusterIP"]
    release.helm.uninstall()
    assert release.get("service", f"{release.target}-0")["spec"]["clusterIP"] == portal
    assert release.get("pvc", f"data-{release.target}-0")["status"]["phase"] == "Bound"
    release.helm.install(release.values, *READY)
    assert release.get("service", f"{release.target}-0")["spec"]["clusterIP"] == portal
    assert release.get("pv", volume["metadata"]["name"])["spec"]["iscsi"] == volume["spec"]["iscsi"]
    release.delete_claim("chart-left")


def test_killed_pods_come_back_with_their_volumes(release: Installed, cluster: Cluster) -> None:
    """Target and provisioner at the same time, without a moment to tidy up, while claims are asked for."""
    before = release.claim("chart-killed")
    pods = cluster.kubectl("get", "pods", "-n", release.namespace, "-o", "name").split()
    uids = {pod: release.get("pod", pod.removeprefix("pod/"))["metadata"]["uid"] for pod in pods}
    cluster.kubectl("delete", *pods, "-n", release.namespace, "--force", "--grace-period=0")
    after = release.claim("chart-after")
    for volume in (before, after):
        id = volume["metadata"]["name"]
        command = ("lundock-target", "exports", "get", id, "-o", "json")
        export = json.loads(cluster.kubectl("exec", f"{release.target}-0", "-n", release.namespace, "--", *command))
        assert export["phase"] == "ready"
    assert release.get("pv", before["metadata"]["name"])["spec"]["iscsi"] == before["spec"]["iscsi"]
    assert release.get("pod", f"{release.target}-0")["metadata"]["uid"] not in uids.values()
    for name in ("chart-killed", "chart-after"):
        release.delete_claim(name)
