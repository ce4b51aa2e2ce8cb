"""`down` leaves the host as it was. It needs the machine's one cluster for itself: run by `-m slow`."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import embedded
from cluster.components.containers import CGROUP
from cluster.embedded import COMPONENTS, Cluster
from cluster.machine import shell
from cluster.machine.processes import in_cgroup, is_alive
from cluster.places import cache_home
from tests.capabilities import need

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def alone() -> Iterator[Cluster]:
    """The cluster, while no other session can use it; it is down at first."""
    need("root", "containerd", "docker")
    cluster = embedded.cluster(print)
    with (cache_home() / "cluster.users").open("a") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip("another session uses the cluster")
        if cluster.places.state.exists():
            pytest.skip("the cluster is up: `python -m cluster down` first")
        yield cluster


def traces(cluster: Cluster) -> dict[str, list[str]]:
    """What a cluster can leave on a host."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    ours = (str(cluster.places.run), str(cluster.places.data))
    rules = [line for tool in ("iptables-save", "ip6tables-save") for line in shell.run(tool).splitlines()]
    return {
        # A zombie is its parent's, which is process 1 here: some take a second to wait for it.
        "processes": [str(pid) for pid in [*cluster.plane.processes.all(), *in_cgroup(CGROUP)] if is_alive(pid)],
        "mounts": [line.split()[4] for line in mounts if line.split()[4].startswith(ours)],
        "rules": [line for line in rules if "KUBE" in line or "lundock" in line or "CNI" in line],
        "links": [
            line for line in shell.run("ip", "-oneline", "link").splitlines() if "veth" in line and "master" not in line
        ],
        "addresses": [line for line in shell.run("ip", "-oneline", "address").splitlines() if " 10.231." in line],
        "routes": [line for line in shell.run("ip", "route", "show", "table", "all").splitlines() if "10.231." in line],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").rglob(CGROUP)],
        "files": [
            str(path) for path in (cluster.places.run, cluster.places.etcd, cluster.places.kubelet) if path.exists()
        ],
        "containers": [str(path) for path in Path("/var/log/containers").glob("*")],
    }


@pytest.mark.parametrize("killed", [(), ("containerd",), ("etcd", "kube-apiserver", "kubelet"), COMPONENTS])
def test_down_removes_every_trace(alone: Cluster, killed: tuple[str, ...]) -> None:
    before = traces(alone)
    try:
        alone.up(print)
        alone.load("debian:bookworm-slim", print)
        alone.kubectl("run", "p", "--image=debian:bookworm-slim", "--image-pull-policy=Never", "--", "sleep", "1000")
        alone.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=90s")
        for component in killed:
            pid = alone.processes()[component]
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
    finally:
        alone.down()
    assert traces(alone) == before
