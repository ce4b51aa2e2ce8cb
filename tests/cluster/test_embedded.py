"""Pods run in the embedded cluster, and everything that the other tests build on works: names, Services, logs, exec."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from cluster.components import images
from cluster.embedded import Cluster
from cluster.machine import network
from cluster.machine.waiting import wait_for

pytestmark = pytest.mark.cluster

NAMESPACE = "embedded-smoke"
PORT = 7000

GREETER = """
use IO::Socket::INET;
print "listening\\n"; $| = 1;
my $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die $!;
while (my $client = $server->accept) { print $client "hello from a pod\\n"; close $client }
"""

ASKER = """
use IO::Socket::INET;
my $server = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 7000, Timeout => 5) or die "$ARGV[0]: $!";
print <$server>;
"""


@pytest.fixture(scope="module")
def greeter(cluster: Cluster) -> Iterator[str]:
    """A pod that greets whoever connects, behind a Service of the same name. Yields the pod's name."""
    images.make_base_image(print)
    cluster.load(images.BASE)
    restricted = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "greeter",
        "image": images.BASE,
        "imagePullPolicy": "Never",
        "command": ["perl", "-e", GREETER],
        "securityContext": restricted,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"claimName": "greeter"}
    items = [
        {
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        {
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "greeter", "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        {
            "kind": "Pod",
            "metadata": {"name": "greeter", "namespace": NAMESPACE, "labels": {"app": "greeter"}},
            "spec": {
                "containers": [container],
                "securityContext": {"fsGroup": 65532},
                "volumes": [{"name": "data", "persistentVolumeClaim": claim}],
            },
        },
        {
            "kind": "Service",
            "metadata": {"name": "greeter", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "greeter"}, "ports": [{"port": PORT}]},
        },
    ]
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", **i} for i in items]})
    cluster.kubectl("apply", "-f", "-", stdin=manifests)
    cluster.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/greeter", "--timeout=90s")
    yield "greeter"
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_logs_and_exec_reach_the_pod(cluster: Cluster, greeter: str) -> None:
    assert cluster.kubectl("-n", NAMESPACE, "logs", greeter) == "listening\n"
    assert cluster.kubectl("-n", NAMESPACE, "exec", greeter, "--", "id", "-u") == "65532\n"


def test_a_pod_reaches_a_service_by_name(cluster: Cluster, greeter: str) -> None:
    """Its own Service too: the packet leaves by the link that it comes back on."""
    for name in ("greeter", f"greeter.{NAMESPACE}.svc.cluster.local"):
        answer = cluster.kubectl("-n", NAMESPACE, "exec", greeter, "--", "perl", "-e", ASKER, name)
        assert answer == "hello from a pod\n"


def test_another_pod_reaches_the_service(cluster: Cluster, greeter: str) -> None:
    asking = ["run", "asker", "--image", images.BASE, "--image-pull-policy=Never", "--restart=Never"]
    cluster.kubectl("-n", "default", *asking, "--", "perl", "-e", ASKER, f"{greeter}.{NAMESPACE}")
    try:
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asker", "--timeout=60s")
        assert cluster.kubectl("logs", "asker") == "hello from a pod\n"
    finally:
        cluster.kubectl("delete", "pod", "asker", "--wait=false")


def test_the_host_reaches_a_service(cluster: Cluster, greeter: str) -> None:
    address = cluster.kubectl("-n", NAMESPACE, "get", "service", greeter, "-o", "jsonpath={.spec.clusterIP}")

    def answers() -> bool:
        """kube-proxy may need a moment to learn of the pod."""
        try:
            with socket.create_connection((address, PORT), timeout=5) as client:
                return client.recv(100) == b"hello from a pod\n"
        except OSError:
            return False

    assert wait_for(answers, timeout_s=20)
    name = f"{greeter}.{NAMESPACE}.svc.cluster.local"
    assert wait_for(lambda: network.resolves(name, network.DNS), timeout_s=20), "one packet may be late or lost"


def test_an_unprivileged_pod_writes_to_a_claimed_volume(cluster: Cluster, greeter: str) -> None:
    writing = ["sh", "-c", "echo kept > /data/file && cat /data/file"]
    assert cluster.kubectl("-n", NAMESPACE, "exec", greeter, "--", *writing) == "kept\n"


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.processes()
    cluster.up()
    assert cluster.processes() == before
    assert None not in before.values()
