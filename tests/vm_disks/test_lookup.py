"""The same claims from a real API server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm_disks.test_claims import CLAIM, VOLUME, changed
from vm_disks import claims, lookup
from vm_disks.address import Portal
from vm_disks.errors import ClaimMissing, ClusterError
from vm_disks.lookup import FromCluster
from vm_disks.model import ClaimSource

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def namespace(control_plane: Any) -> Iterator[str]:
    name = f"vm-disks-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def bound(control_plane: Any, namespace: str) -> str:
    """The name of a claim that the cluster's controller bound; its Service, and its CHAP Secret."""
    volume = changed(
        changed(VOLUME, "metadata.name", namespace), "spec.claimRef", {"namespace": namespace, "name": "disk"}
    )
    volume["spec"]["iscsi"] |= {
        "targetPortal": f"target.{namespace}.svc:3261",
        "chapAuthSession": True,
        "secretRef": {"name": "chap"},
    }
    metadata = {"namespace": namespace}
    objects = [
        volume,
        {
            **changed(changed(CLAIM, "status", None), "spec.volumeName", namespace),
            "metadata": {**metadata, "name": "disk"},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "name": "target"},
            "spec": {"ports": [{"port": 3261}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "name": "chap"},
            "stringData": {"node.session.auth.username": "u", "node.session.auth.password": "p"},
        },
    ]
    objects[1]["spec"]["resources"] = {"requests": {"storage": "1Gi"}}
    objects[1]["spec"]["storageClassName"] = ""
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    control_plane.kubectl("-n", namespace, "wait", "pvc/disk", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
    return "disk"


@pytest.fixture(scope="module")
def cluster_lookup(control_plane: Any) -> FromCluster:
    return lookup.connect(str(control_plane.kubeconfig))


def test_a_claim_of_a_cluster_gives_its_address(cluster_lookup: FromCluster, namespace: str, bound: str) -> None:
    found = claims.resolve(ClaimSource(bound), namespace, "spec.volumes[0]", cluster_lookup)
    service = cluster_lookup.service(namespace, "target")
    assert service is not None
    assert found.volume == namespace
    assert found.address.portals == (Portal(service["spec"]["clusterIP"], 3261),)
    assert found.address.chap is not None
    assert found.address.chap.username == "u"


def test_what_is_not_there_is_none(cluster_lookup: FromCluster, namespace: str) -> None:
    assert cluster_lookup.claim(namespace, "nothing") is None
    assert cluster_lookup.volume("a/../nothing") is None
    with pytest.raises(ClaimMissing):
        claims.resolve(ClaimSource("nothing"), namespace, "spec.volumes[0]", cluster_lookup)


def test_what_is_forbidden_is_an_error_that_says_so(control_plane: Any, namespace: str, bound: str) -> None:
    token = control_plane.kubectl("-n", namespace, "create", "token", "default").strip()
    lawful = lookup.connect(str(control_plane.kubeconfig))
    settings = lawful.api.configuration
    settings.api_key = {"authorization": f"Bearer {token}"}
    settings.cert_file = settings.key_file = None
    with pytest.raises(ClusterError, match=r"persistentvolumeclaims/disk: 403 Forbidden\. Ask for a Role"):
        FromCluster(type(lawful.api)(settings)).claim(namespace, bound)


def test_a_server_that_is_gone_is_an_error_that_says_so(cluster_lookup: FromCluster) -> None:
    settings = type(cluster_lookup.api.configuration)()
    settings.host = "http://127.0.0.1:9"  # the discard port, where nothing listens
    with pytest.raises(ClusterError, match="no answer"):
        FromCluster(type(cluster_lookup.api)(settings)).volume("pv")


def test_a_kubeconfig_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--kubeconfig"):
        lookup.connect(str(tmp_path / "nowhere"))
