"""The node's network: its address, the pods' addresses, and the iptables rules that are not kube-proxy's.

Each pod is linked to the host by a point-to-point veth (CNI plugin ptp) and routed by the host. A bridge would need the
kernel to pass bridged packets through iptables (br_netfilter), or a Service whose client and server are on this node
would not work.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
from pathlib import Path

from cluster.errors import Conflict, ToolMissing
from cluster.machine import shell
from cluster.places import write

NETWORK = "10.231.0.0/16"
"""All of the cluster's addresses are in here."""

NODE = "10.231.1.1"
"""The node's own address, on the loopback device: the same on every machine; pods reach it by their gateway."""

PODS = "10.231.0.0/24"
SERVICES = "10.231.128.0/17"
KUBERNETES_SERVICE = "10.231.128.1"
"""The first address of SERVICES, which the API server gives to the Service `kubernetes`."""

DNS = "10.231.128.10"
"""The Service kube-dns."""

NAME = "lundock-cluster"
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
PLUGINS = ("ptp", "host-local", "loopback")

RULES = (
    # Docker's policy for forwarded packets is to drop them.
    ("filter", "FORWARD", ("-s", PODS, "-j", "ACCEPT")),
    ("filter", "FORWARD", ("-d", PODS, "-j", "ACCEPT")),
    # The pods' addresses are unknown outside of this machine.
    ("nat", "POSTROUTING", ("-s", PODS, "!", "-d", NETWORK, "-j", "MASQUERADE")),
)


def plugin_folder() -> Path:
    """Where the CNI plugins are.

    Raises:
        ToolMissing: they are not installed.
    """
    for folder in PLUGIN_FOLDERS:
        if all((folder / plugin).exists() for plugin in PLUGINS):
            return folder
    raise ToolMissing(
        f"the CNI plugins {', '.join(PLUGINS)} are not installed: apt-get install containernetworking-plugins"
    )


def check_is_free() -> None:
    """Look for what would clash with the cluster, before anything is changed.

    Raises:
        Conflict: another network has our addresses, or this machine is a Kubernetes node already.
    """
    ours = ipaddress.ip_network(NETWORK)
    for route in json.loads(shell.run("ip", "-json", "-4", "route", "show", "table", "all")):
        destination = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"], strict=False)
        if destination.prefixlen > 0 and destination.overlaps(ours) and route.get("dev") is not None:
            raise Conflict(
                f"this machine has a route to {route['dst']} on {route['dev']}, in {NETWORK}, which the embedded"
                " cluster uses for its pods and services: remove that route, or name a cluster of yours with --context"
            )
    if shell.succeeds("iptables", "-w", "-t", "nat", "-S", "KUBE-SERVICES"):
        raise Conflict(
            "this machine has iptables rules of another kube-proxy: the embedded cluster would break that node; name"
            " your cluster with --context instead (`kube-proxy --cleanup` removes the rules if no Kubernetes runs here)"
        )


def set_up() -> None:
    """Add the node's address and our iptables rules, where they are missing."""
    if NODE not in shell.run("ip", "-4", "address", "show", "dev", "lo"):
        shell.run("ip", "address", "add", f"{NODE}/32", "dev", "lo")
    # A packet needs some route before kube-proxy's rules turn it to a pod: a machine that is offline has none.
    shell.run("ip", "route", "replace", SERVICES, "dev", "lo", "src", NODE)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    for table, chain, rule in RULES:
        marked = (*rule, "-m", "comment", "--comment", NAME)
        if not shell.succeeds("iptables", "-w", "-t", table, "-C", chain, *marked):
            shell.run("iptables", "-w", "-t", table, "-I", chain, *marked)


def resolves(name: str, server: str) -> bool:
    """Ask a DNS server for a name's IPv4 address (RFC 1035, section 4).

    Returns:
        Whether it gave one.
    """
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.sendto(query, (server, 53))
            _identity, flags, _questions, answers, *_ = struct.unpack(">6H", client.recv(512)[:12])
        except OSError:
            return False
    return bool(flags & 0xF == 0 and answers > 0)


def tear_down() -> None:
    """Remove the address, our rules and kube-proxy's. Pods' links go with their network namespaces."""
    for table, chain, rule in RULES:
        marked = (*rule, "-m", "comment", "--comment", NAME)
        while shell.succeeds("iptables", "-w", "-t", table, "-D", chain, *marked):
            pass
    shell.succeeds("ip", "route", "delete", SERVICES, "dev", "lo")
    if NODE in shell.run("ip", "-4", "address", "show", "dev", "lo"):
        shell.run("ip", "address", "del", f"{NODE}/32", "dev", "lo")
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "mangle"):
            removal = removal_of_kubernetes(shell.run(program, "-w", "-t", table, "-S"))
            if removal:
                script = "\n".join([f"*{table}", *removal, "COMMIT", ""])
                shell.run(f"{program}-restore", "-w", "--noflush", stdin=script)
    for result in Path("/var/lib/cni/results").glob(f"{NAME}-*"):
        result.unlink(missing_ok=True)


def removal_of_kubernetes(rules: str) -> list[str]:
    """What removes kube-proxy's chains and the jumps into them, given a table as `iptables -S` prints it.

    `kube-proxy --cleanup` leaves KUBE-FIREWALL and its canaries behind.
    """
    lines = [line.split() for line in rules.splitlines()]
    chains = [words[1] for words in lines if words[0] == "-N" and words[1].startswith("KUBE-")]
    jumps = [
        line.replace("-A ", "-D ", 1)
        for line, words in zip(rules.splitlines(), lines, strict=True)
        if words[0] == "-A" and words[1] not in chains and any(word in chains for word in words)
    ]
    return [*jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains)]


def write_cni_configuration(folder: Path, leases: Path) -> None:
    """Write the CNI configuration of this cluster alone.

    Args:
        folder: for the configuration; containerd's configuration names only this folder.
        leases: where the pods' addresses are remembered.
    """
    ptp = {
        "type": "ptp",
        "mtu": _mtu(),
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(leases),
        },
    }
    document = {"cniVersion": "0.4.0", "name": NAME, "plugins": [ptp]}
    write(folder / "10-lundock.conflist", json.dumps(document, indent=2))


def _mtu() -> int:
    """The smallest MTU of the ways out, so that no packet of a pod is too large for the network outside."""
    default = json.loads(shell.run("ip", "-json", "-4", "route", "show", "default"))
    devices = {str(route["dev"]) for route in default if "dev" in route}
    links = json.loads(shell.run("ip", "-json", "link", "show"))
    return min((int(link["mtu"]) for link in links if link["ifname"] in devices), default=1500)
