"""What the cluster does to the host's network, as far as it is decided without it."""

from __future__ import annotations

from cluster.machine.network import removal_of_kubernetes

RULES = """\
-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER-USER
-N KUBE-FIREWALL
-N KUBE-SERVICES
-N KUBE-SVC-ERIFXISQEP7F7OF4
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -j DOCKER-USER
-A KUBE-SERVICES -d 10.231.128.10/32 -p udp -j KUBE-SVC-ERIFXISQEP7F7OF4
-A KUBE-FIREWALL -s 127.0.0.0/8 -j DROP
"""


def test_only_kube_proxys_chains_are_removed_and_jumps_first() -> None:
    assert removal_of_kubernetes(RULES) == [
        "-D INPUT -j KUBE-FIREWALL",
        '-D FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-F KUBE-FIREWALL",
        "-F KUBE-SERVICES",
        "-F KUBE-SVC-ERIFXISQEP7F7OF4",
        "-X KUBE-FIREWALL",
        "-X KUBE-SERVICES",
        "-X KUBE-SVC-ERIFXISQEP7F7OF4",
    ]


def test_nothing_is_removed_where_kubernetes_never_was() -> None:
    assert removal_of_kubernetes("-P INPUT ACCEPT\n-N DOCKER\n-A INPUT -j DOCKER\n") == []
