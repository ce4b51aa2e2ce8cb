"""The same claims from a real API server; and what is none."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lundock_common import kubeconfig
from lundock_common.kubernetes_api import Kube
from lundock_common.limits import Pace
from lundock_common.portal import Portal
from tests.vm_disks.resolution.test_claims import CLAIM, VOLUME, changed
from vm_disks.errors import ClaimMissing, ClusterError
from vm_disks.model import ClaimSource
from vm_disks.resolution import claims, lookup
from vm_disks.resolution.lookup import FromCluster


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


@pytest.mark.cluster
def test_a_claim_of_a_cluster_gives_its_address(cluster_lookup: FromCluster, namespace: str, bound: str) -> None:
    found = claims.resolve(ClaimSource(bound), namespace, "spec.volumes[0]", cluster_lookup)
    service = cluster_lookup.service(namespace, "target")
    assert service is not None
    assert found.volume == namespace
    assert found.address.portals == (Portal(service["spec"]["clusterIP"], 3261),)
    assert found.address.chap is not None
    assert found.address.chap.username == "u"


@pytest.mark.cluster
def test_what_is_not_there_is_none(cluster_lookup: FromCluster, namespace: str) -> None:
    assert cluster_lookup.claim(namespace, "nothing") is None
    assert cluster_lookup.volume("a/../nothing") is None
    with pytest.raises(ClaimMissing):
        claims.resolve(ClaimSource("nothing"), namespace, "spec.volumes[0]", cluster_lookup)


@pytest.mark.cluster
def test_what_is_forbidden_is_an_error_that_says_so(control_plane: Any, namespace: str, bound: str) -> None:
    token = control_plane.kubectl("-n", namespace, "create", "token", "default").strip()
    settings = kubeconfig.find(str(control_plane.kubeconfig)).configuration
    settings.api_key = {"authorization": f"Bearer {token}"}
    settings.cert_file = settings.key_file = None
    with pytest.raises(ClusterError, match=r"persistentvolumeclaims/disk: 403 Forbidden\. Ask for a Role"):
        FromCluster(Kube(settings, Pace())).claim(namespace, bound)


def at(host: str) -> FromCluster:
    from kubernetes.client import Configuration

    settings = Configuration()
    settings.host = host
    return FromCluster(Kube(settings, Pace()))


def test_a_server_that_is_gone_is_an_error_that_says_so() -> None:
    with pytest.raises(ClusterError, match="no answer"):
        at("http://127.0.0.1:9").volume("pv")  # the discard port, where nothing listens


@pytest.mark.parametrize(("body", "said"), [(b"<html>", "is not JSON"), (b"[1]", "is no object")])
def test_a_server_that_is_no_api_server_is_an_error_that_says_so(body: bytes, said: str) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ClusterError, match=said):
            at(f"http://127.0.0.1:{server.server_port}").volume("pv")
        server.shutdown()


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: c, user: u, namespace: vms}}
"""


def test_a_context_is_named_where_none_is_current(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    assert lookup.connect(str(file), "two").namespace == "vms"
    assert lookup.connect(str(file), "one").namespace == "default"
    with pytest.raises(ClusterError, match="current-context"):
        lookup.connect(str(file))
    file.write_text(f"{KUBECONFIG}current-context: two")
    assert lookup.connect(str(file)).namespace == "vms"


@pytest.mark.parametrize("text", ["a: [", "- 1", "1", "{contexts: 3, current-context: a}"])
def test_a_kubeconfig_that_is_none_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ClusterError, match=f"Reading {file}"):
        lookup.connect(str(file))


def test_a_kubeconfig_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--kubeconfig"):
        lookup.connect(str(tmp_path / "nowhere"))
