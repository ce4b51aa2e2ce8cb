"""The chart's other shapes on a whole Kubernetes: several targets, a node's own network."""

from __future__ import annotations

import json

import pytest

from cluster.embedded import Cluster
from tests.chart.helm import Helm
from tests.chart.whole import installed

pytestmark = pytest.mark.cluster

NODE, ADDRESS = "lundock", "10.231.1.1"
"""Of the embedded cluster's node."""


def test_a_target_that_was_scaled_away_comes_back_with_its_volumes(helm: Helm, cluster: Cluster) -> None:
    with installed(helm, cluster, "several", target={"replicas": 2, "shards": 2}) as release:
        for ordinal in range(2):
            portal = release.claim(f"several-{ordinal}", **{"lundock.io/target": f"{release.target}-{ordinal}"})
            host, _, port = portal["spec"]["iscsi"]["targetPortal"].rpartition(":")
            assert host == f"{release.target}-{ordinal}.{release.namespace}.svc.cluster.local"
            assert port in ("3260", "3261")
        address = release.get("service", f"{release.target}-1")["spec"]["clusterIP"]

        notes = release.upgrade(replicas=1)
        assert f"Kept from a larger release: {release.target}-1." in notes
        cluster.kubectl("wait", f"pod/{release.target}-1", "-n", release.namespace, "--for=delete", "--timeout=60s")
        assert release.get("service", f"{release.target}-1")["spec"]["clusterIP"] == address

        release.upgrade(replicas=2)
        volume = release.get("pvc", "several-1", "default")["spec"]["volumeName"]
        command = ("lundock-target", "exports", "list", "-o", "json")
        exports = json.loads(cluster.kubectl("exec", f"{release.target}-1", "-n", release.namespace, "--", *command))
        assert [(export["id"], export["phase"]) for export in exports] == [(volume, "ready")]
        for ordinal in range(2):
            release.delete_claim(f"several-{ordinal}")


def test_a_target_on_a_nodes_network_serves_the_initiators_that_it_was_given(helm: Helm, cluster: Cluster) -> None:
    network = {
        "enabled": True,
        "node": NODE,
        "address": ADDRESS,
        "initiators": ["iqn.2026-11.io.lundock.test:allowed"],
    }
    # This machine's other addresses may have other users of these ports.
    settings = {"delete_grace_s": 0, "page_address": ADDRESS, "metrics_address": ADDRESS}
    target = {"hostNetwork": network, "settings": settings}
    with installed(helm, cluster, "onnode", security="privileged", target=target) as release:
        assert release.get("pod", f"{release.target}-0")["status"]["podIP"] == ADDRESS
        assert release.claim("on-node")["spec"]["iscsi"]["targetPortal"] == f"{ADDRESS}:3260"
        command = ("lundock-target", "exports", "list", "-o", "json")
        listed = cluster.kubectl("exec", f"{release.target}-0", "-n", release.namespace, "--", *command)
        assert json.loads(listed)[0]["access"]["initiators"] == network["initiators"]
        # helm test logs in under the first of the names.
        assert "the volume keeps what is written to it" in release.test()
        release.delete_claim("on-node")
