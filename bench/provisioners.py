"""What provision measures: Lundock with real LUNs, csi-provisioner with none, and the control plane by itself."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.agent import Agent
from bench.kube import CLASSES, VOLUMES, Api, Json
from bench.processes import cpu_seconds, peak_mib, started
from bench.servers import answers, run, scratch, wait_until
from cluster.components.control_plane import ControlPlane
from cluster.machine.ports import free_ports
from cluster.places import cache_home

CSI = Path(__file__).resolve().parent / "csi"
CSI_NAME = "noop.csi.lundock.io"


@dataclass
class Provisioner:
    """One contender: its class, the processes to account for, and what it does for a claim besides watching."""

    storage_class: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    prepare: Callable[[Api, Json], None] | None = None

    def cpu_seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items()}

    def peak_mib(self) -> dict[str, float]:
        return {name: peak_mib(process.pid) for name, process in self.processes.items()}


def storage_class(api: Api, name: str, provisioner: str) -> None:
    api.create(
        CLASSES,
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": provisioner,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        },
    )


def provisioner_config(folder: Path, agent: Agent, health_port: int) -> Path:
    """A configuration with this one target and CHAP, in a file."""
    (folder / "key").write_bytes(secrets.token_bytes(32))
    config = {
        "release": "bench/lundock",
        "targets": [{"name": "bench", "url": agent.url, "portalHost": "127.0.0.1"}],
        "leaderElection": {"enabled": False},
        "chap": {"masterKeyFile": str(folder / "key")},
        "http": {"address": "127.0.0.1", "healthPort": health_port, "metricsPort": health_port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def provisioner_argv(plane: ControlPlane, config: Path) -> list[str]:
    run = [sys.executable, "-m", "provisioner", "run"]
    return [*run, f"--config={config}", f"--kubeconfig={plane.kubeconfig}"]


@contextmanager
def lundock(plane: ControlPlane) -> Iterator[Provisioner]:
    """The agent with a real tgtd, its ledger synced to disk, and the provisioner; as processes."""
    health = free_ports()
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        agent = stack.enter_context(Agent(folder).running())
        config = provisioner_config(folder, agent, health)
        ours = stack.enter_context(started("provisioner", provisioner_argv(plane, config), folder))
        wait_until(lambda: answers(health), "the provisioner's start")
        storage_class(Api(plane), "lundock", "iscsi.lundock.io")
        yield Provisioner("lundock", {"provisioner": ours, "agent": agent.process})


@contextmanager
def csi_provisioner(plane: ControlPlane, *options: str) -> Iterator[Provisioner]:
    """csi-provisioner from its own Go module, in front of a driver that makes nothing."""
    binaries = build_csi()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        driver = stack.enter_context(started("noop", [binaries / "noop", f"--socket={folder}/csi.sock"], folder))
        wait_until(lambda: (folder / "csi.sock").exists(), "the driver's start")
        where = [f"--csi-address={folder}/csi.sock", f"--kubeconfig={plane.kubeconfig}"]
        argv = [str(binaries / "csi-provisioner"), *where, *options]
        theirs = stack.enter_context(started("csi-provisioner", argv, folder))
        storage_class(Api(plane), "csi", CSI_NAME)
        yield Provisioner("csi", {"provisioner": theirs, "driver": driver})


@contextmanager
def floor(plane: ControlPlane) -> Iterator[Provisioner]:
    """No provisioner: each claim's PV is made beside it, reserved for it. What is left is the control plane's time."""

    def volume_for(api: Api, claim: Json) -> None:
        name = claim["metadata"]["name"]
        api.create(
            VOLUMES,
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"static-{name}"},
                "spec": {
                    "capacity": claim["spec"]["resources"]["requests"],
                    "accessModes": claim["spec"]["accessModes"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "static",
                    # Without the uid kube-controller-manager leaves it to the next resync, 15 s later.
                    "claimRef": {"namespace": "default", "name": name, "uid": claim["metadata"]["uid"]},
                    "iscsi": {"targetPortal": "127.0.0.1", "iqn": f"iqn.2026-11.io.lundock:{name}", "lun": 1},
                },
            },
        )

    storage_class(Api(plane), "static", "kubernetes.io/no-provisioner")
    yield Provisioner("static", prepare=volume_for)


def build_csi() -> Path:
    """csi-provisioner and the driver, built once (3 minutes on two cores) into the user's cache."""
    module = (CSI / "go.mod").read_text(encoding="utf-8")
    version = next(line.split()[1] for line in module.splitlines() if "external-provisioner/v6 v" in line)
    folder = cache_home() / f"csi-provisioner-{version}"
    if not folder.is_dir():
        unfinished = folder.with_suffix(".building")
        shutil.rmtree(unfinished, ignore_errors=True)
        for package in ("github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner", "./noop"):
            output = unfinished / Path(package).name
            run("go", "build", "-C", CSI, "-trimpath", "-ldflags", "-s -w", "-o", output, package, timeout_s=1800)
        unfinished.rename(folder)
    return folder
