"""A containerd of the cluster's own, beside Docker's: its root, state, socket and CNI configuration are ours alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed, Conflict, NotReady
from cluster.machine import network, shell
from cluster.machine.processes import Processes, end, in_cgroup
from cluster.machine.waiting import wait_for
from cluster.places import Places, write

NAMESPACE = "k8s.io"
"""containerd's namespace of what the CRI sees; unrelated to Kubernetes' namespaces."""

CGROUP = "lundock-cluster"
"""kubelet puts all pods below this cgroup, so that they can be found and ended whatever else has died."""

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "hugetlb", "systemd", "devices", "blkio", "freezer")
"""Of cgroup v1, each its own hierarchy."""


@dataclass(frozen=True)
class Containers:
    """The containerd of one cluster."""

    places: Places

    @property
    def processes(self) -> Processes:
        return Processes(self.places.run, self.places.logs)

    def start(self, pause_image: str, kubernetes: bool = True) -> None:
        """Start containerd and wait until it answers.

        Args:
            pause_image: what holds a pod's namespaces.
            kubernetes: serve the CRI; without, it only manages what is stored.
        """
        configuration = self.places.run / "containerd.toml"
        write(configuration, self._configuration(pause_image, kubernetes))
        network.write_cni_configuration(self.places.run / "cni", self.places.run / "leases")
        self.processes.start("containerd", "containerd", "--config", configuration)
        self.processes.wait("containerd", lambda: self._answers(kubernetes), timeout_s=60)

    def images(self) -> dict[str, str]:
        """The images by name, each with the digest of its configuration (what Docker calls the image's id)."""
        found = {}
        for line in self.ctr("images", "list").splitlines()[1:]:
            name, _kind, digest = line.split()[:3]
            if not name.startswith("sha256:") and "@" not in name:
                found[name] = self._configuration_digest(digest)
        return found

    def clean(self) -> None:
        """End all containers and forget them, whatever state they are in; images stay.

        containerd is started without the CRI for that, and ended: so it works after any crash.
        """
        end([*in_cgroup(CGROUP), *self.processes.all()], patience_s=0)
        _remove_cgroup()
        unmount_below(self.places.run)
        unmount_below(self.places.kubelet)
        self.forget()

    def forget(self) -> None:
        """Forget all containers; images stay, unless the store is damaged: they can be loaded again."""
        if not (self.places.containerd / "io.containerd.metadata.v1.bolt").exists():
            return
        try:
            self._remove_containers()
        except (CommandFailed, NotReady):
            end(self.processes.all(), patience_s=0)
            shutil.rmtree(self.places.containerd)

    def ctr(self, *arguments: str) -> str:
        return shell.run(*self.ctr_command(*arguments))

    def ctr_command(self, *arguments: str) -> list[str]:
        return [str(shell.find("ctr")), "--address", str(self.places.containerd_socket), "-n", NAMESPACE, *arguments]

    def _answers(self, kubernetes: bool) -> bool:
        if not self.places.containerd_socket.exists():
            return False
        try:
            plugins = self.ctr("plugins", "list")
        except CommandFailed:
            return False
        cri = [line.split()[-1] for line in plugins.splitlines() if line.split()[1:2] == ["cri"]]
        return not kubernetes or "ok" in cri

    def _configuration_digest(self, manifest: str) -> str:
        """An index or a manifest is a document that names others; follow it to the configuration."""
        document = json.loads(self.ctr("content", "get", manifest))
        if "config" in document:
            return str(document["config"]["digest"])
        return self._configuration_digest(document["manifests"][0]["digest"])

    def _remove_containers(self) -> None:
        self.start("none", kubernetes=False)
        for kind in ("containers", "leases"):
            for name in self.ctr(kind, "list", "--quiet").split():
                self.ctr(kind, "delete", name)
        self._remove_snapshots_of_containers()
        self.processes.stop("containerd")

    def _remove_snapshots_of_containers(self) -> None:
        """A container's own layer is active; images' layers are committed and stay."""
        for line in self.ctr("snapshots", "list").splitlines()[1:]:
            key, *_parent, kind = line.split()
            if kind == "Active":
                self.ctr("snapshots", "remove", key)

    def _configuration(self, pause_image: str, kubernetes: bool) -> str:
        disabled = [] if kubernetes else ["io.containerd.grpc.v1.cri"]
        return f"""\
version = 2
root = "{self.places.containerd}"
state = "{self.places.run}/containerd"
disabled_plugins = {json.dumps(disabled)}
[grpc]
  address = "{self.places.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Some hosts refuse a negative value, and runc then ends without saying so.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{network.plugin_folder()}"
    conf_dir = "{self.places.run}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def make_cgroup() -> None:
    """Make the cgroup that kubelet is given as its root, in each hierarchy there is: kubelet demands it beforehand."""
    base = Path("/sys/fs/cgroup")
    unified = base / "cgroup.controllers"
    if unified.exists():
        for controller in unified.read_text(encoding="ascii").split():
            _enable(base, controller)
        (base / CGROUP).mkdir(exist_ok=True)
        return
    for controller in CONTROLLERS:
        if (base / controller).is_dir():
            (base / controller / CGROUP).mkdir(exist_ok=True)


def _enable(cgroup: Path, controller: str) -> None:
    """Give a controller to a cgroup's children (cgroup v2)."""
    control = cgroup / "cgroup.subtree_control"
    if controller in control.read_text(encoding="ascii").split():
        return
    try:
        control.write_text(f"+{controller}", encoding="ascii")
    except OSError as refused:
        raise Conflict(
            f"the cgroup controller {controller} cannot be given to children of {cgroup} ({refused.strerror}): in a"
            f" container, first move its processes to a cgroup below, as Docker-in-Docker does"
        ) from refused


def _remove_cgroup() -> None:
    """Remove the emptied cgroup, the innermost first. Its processes' last moments, and dying shims, are waited for."""

    def is_gone() -> bool:
        roots = [*Path("/sys/fs/cgroup").glob(CGROUP), *Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")]
        for root in roots:
            for folder, _folders, _files in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        return not roots

    wait_for(is_gone, timeout_s=10)


def unmount_below(folder: Path) -> None:
    """Unmount a folder and everything in it, the innermost first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((m for m in mounts if f"{m}/".startswith(f"{folder}/")), reverse=True):
        shell.run("umount", "--lazy", mount)
