"""The whole way through real parts: the chart's pods, a libvirt daemon of this machine, and a guest that boots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.embedded import Cluster
from cluster.machine import daemons
from cluster.places import REPOSITORY
from tests.capabilities import need

BOOT_TIMEOUT_S = 400
"""A guest on a busy machine without KVM."""

VmDisks = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Cluster:
    """The embedded cluster with this checkout's images, and a libvirt daemon beside it."""
    need("libvirtd", "qemu", "qemu-iscsi")
    daemons.start(daemons.LIBVIRT, print)
    for image in (
        "lundock/target:0.1.0",
        "lundock/target:latest",
        "lundock/provisioner:0.1.0",
        "lundock/runner:latest",
    ):
        cluster.load(image)
    return cluster


@pytest.fixture(scope="session")
def release(node: Cluster) -> Iterator[str]:
    """`helm install lundock charts/lundock`, as the README says it. Yields its namespace."""
    namespace, chart = "lundock", REPOSITORY / "charts" / "lundock"
    options = ("-n", namespace, "--create-namespace", "--set", "target.persistence.enabled=false")
    node.helm("upgrade", "--install", "lundock", chart, *options, "--wait", "--timeout", "5m")
    yield namespace
    node.helm("uninstall", "lundock", "-n", namespace, "--wait")
    node.kubectl("delete", "namespace", namespace, "--timeout=120s")


@pytest.fixture
def vm_disks(node: Cluster) -> VmDisks:
    """Run `vm-disks` against the cluster as a person does. It may fail: the caller looks at the exit code."""

    def run(command: str, *arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "vm_disks", command, *map(str, arguments), f"--kubeconfig={node.kubeconfig}"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=REPOSITORY)

    return run


@pytest.fixture
def boot(vm_disks: VmDisks) -> Iterator[Callable[[Path], str]]:
    """Start the VM of a file and return its console up to the login prompt. It is stopped at the end."""
    started: list[Path] = []

    def start(vm: Path) -> str:
        started.append(vm)
        words = ("--until", "login:", "--timeout", str(BOOT_TIMEOUT_S))
        done = vm_disks("start", "-f", vm, *words, timeout_s=BOOT_TIMEOUT_S + 60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield start
    for vm in started:
        vm_disks("stop", "-f", vm, "--grace", "0")
