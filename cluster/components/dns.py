"""CoreDNS as a process on the node's address, behind the Service kube-dns.

A process, not a pod: names resolve as soon as the API server answers, no image is needed, and the host's programs may
ask the Service too.
"""

from __future__ import annotations

import json

from cluster.components.control_plane import ControlPlane
from cluster.machine import network
from cluster.places import write

USER = "lundock:coredns"
NAME = "kube-dns"
READERS = "lundock:coredns"


def start(plane: ControlPlane) -> None:
    """Start CoreDNS; it may be early, for it waits for the API itself."""
    configuration = plane.places.run / "Corefile"
    write(configuration, corefile(plane))
    plane.processes.start("coredns", plane.binaries.path("coredns"), "-conf", configuration)


def corefile(plane: ControlPlane) -> str:
    ports = plane.ports
    return f"""\
.:{ports.dns} {{
    bind {network.NODE}
    errors
    health 127.0.0.1:{ports.dns_health}
    ready 127.0.0.1:{ports.dns_ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {plane.make_kubeconfig(USER)}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
}}
"""


def manifests(plane: ControlPlane) -> str:
    """The Service kube-dns with the node's address behind it, and what CoreDNS may read, as in kubeadm's clusters."""
    service_ports = [{"name": f"dns-{p.lower()}", "protocol": p, "port": 53} for p in ("UDP", "TCP")]
    endpoint_ports = [{**port, "port": plane.ports.dns} for port in service_ports]
    in_kube_system = {"name": NAME, "namespace": "kube-system"}
    readable = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    items: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**in_kube_system, "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": network.DNS, "ports": service_ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**in_kube_system, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": endpoint_ports,
            "endpoints": [{"addresses": [network.NODE], "conditions": {"ready": True}}],
        },
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": READERS}, "rules": readable},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": READERS},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": READERS},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": USER}],
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
