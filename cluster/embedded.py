"""The whole cluster: up, down, status, and leases for those who need it for a while."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.components import dns, images, node
from cluster.components.build import Binaries, binaries, build
from cluster.components.containers import Containers
from cluster.components.control_plane import ControlPlane
from cluster.errors import NotReady, Privilege
from cluster.machine import network, shell
from cluster.machine.processes import Processes
from cluster.machine.waiting import wait_for
from cluster.places import Places, cache_home, exclusive, write
from cluster.progress import Progress, silent

COMPONENTS = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
)
IMAGES = tuple(images.DOCKERFILES)
LEASED = "leased"
"""The file that says: the cluster is up only for its leases."""


@dataclass(frozen=True)
class Cluster:
    """The embedded cluster of this machine. It is up when its components run; this object holds no state."""

    places: Places
    binaries: Binaries

    @property
    def plane(self) -> ControlPlane:
        return ControlPlane(self.places, self.binaries, network.NODE)

    @property
    def node(self) -> node.Node:
        return node.Node(self.plane)

    @property
    def containers(self) -> Containers:
        return Containers(self.places)

    @property
    def kubeconfig(self) -> Path:
        return self.places.kubeconfig

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 180) -> str:
        """Run kubectl as the administrator and return its stdout.

        Raises:
            CommandFailed: with kubectl's message.
        """
        return self.plane.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str | Path, timeout_s: float = 600) -> str:
        """Run helm as the administrator and return its stdout.

        Raises:
            CommandFailed: with helm's message.
        """
        return self.plane.helm(*arguments, timeout_s=timeout_s)

    def load(self, image: str, progress: Progress = silent) -> bool:
        """Copy an image from Docker to the node unless it has the same. Our own images are built first if needed.

        Raises:
            CommandFailed: the build failed, or Docker has no such image.
            NotReady: the cluster is not up.
        """
        if self.processes()["containerd"] is None:
            raise NotReady("the embedded cluster is not up: `python -m cluster up` starts it")
        name = image.removeprefix("docker.io/").partition(":")[0]
        if name in images.DOCKERFILES:
            images.build(name, progress)
        if not images.load(self.containers, image):
            return False
        progress(f"loaded {image} into the cluster")
        return True

    def up(self, progress: Progress = silent) -> None:
        """Start what does not run, and wait until pods can run and names resolve. Repeat it after any crash.

        Raises:
            ClusterError: what is missing, or did not start, and what to do.
        """
        _need_root()
        with exclusive("cluster.lock"):
            if not self.places.state.exists():
                self._clean()
                network.check_is_free()
            network.set_up()
            pause = images.make_pause_image(self.binaries)
            self.containers.start(images.full_name(pause))
            images.load(self.containers, pause)
            progress("starting the control plane")
            dns.start(self.plane)
            self.plane.start(schedule=True)
            progress("starting the node")
            self.node.start()
            self.kubectl("apply", "--server-side", "-f", "-", stdin=dns.manifests(self.plane))
            self.kubectl("apply", "--server-side", "-f", "-", stdin=node.make_volumes(self.places.volumes))
            self.node.wait()
            if not wait_for(self._resolves, timeout_s=60):
                log = self.plane.processes.log("coredns")
                raise NotReady(f"the cluster's DNS at {network.DNS} does not answer after 60 s: see {log}")
            progress("Kubernetes is up")

    def keep(self) -> None:
        """Let the cluster stay up when the last lease ends."""
        self._leased.unlink(missing_ok=True)

    @property
    def is_leased(self) -> bool:
        return self._leased.exists()

    @property
    def _leased(self) -> Path:
        return self.places.run / LEASED

    def down(self) -> None:
        """End all processes and pods and remove every trace but the built binaries and the images."""
        _need_root()
        with exclusive("cluster.lock"):
            self._clean()

    def is_up(self) -> bool:
        return all(self.processes().values()) and self.plane.is_ready()

    def processes(self) -> dict[str, int | None]:
        """The components with their process ids."""
        ours = Processes(self.places.run, self.places.logs)
        return {name: ours.pid(name) for name in COMPONENTS}

    def _clean(self) -> None:
        self.node.clean()
        shutil.rmtree(self.places.etcd, ignore_errors=True)
        shutil.rmtree(self.places.run, ignore_errors=True)

    def _resolves(self) -> bool:
        """Ask through the Service, as pods do: CoreDNS, its view of the API, and kube-proxy all have to work."""
        return network.resolves("kubernetes.default.svc.cluster.local", network.DNS)


def cluster(progress: Progress = silent) -> Cluster:
    """The cluster of this machine, its binaries built (see `build.build`); it need not be up."""
    build(progress)
    return existing()


def existing() -> Cluster:
    """The cluster of this machine as it is: to look at it or to end it, nothing has to be built."""
    return Cluster(Places.default(), binaries())


@contextlib.contextmanager
def lease(progress: Progress = silent) -> Iterator[Cluster]:
    """Bring the cluster up for a while. The last lease to end takes it down, unless it was up before all of them."""
    leased = cluster(progress)
    _need_root()
    with (cache_home() / "cluster.users").open("a+") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            with exclusive("cluster.leases"):
                starts_it = not leased.places.state.exists()
                leased.up(progress)
                if starts_it:
                    write(leased.places.run / LEASED, "")
            yield leased
        finally:
            with exclusive("cluster.leases"):
                if _is_last(users.fileno()) and leased.is_leased:
                    progress("stopping Kubernetes")
                    leased.down()


def _is_last(descriptor: int) -> bool:
    """Whether no other process holds a lease: then the shared lock can become an exclusive one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Privilege("a node needs root (network, cgroups, mounts): run this as root, or name a cluster of yours")
    for tool in ("containerd", "ctr", "runc", "iptables", "ip", "docker"):
        shell.find(tool)
    network.plugin_folder()
