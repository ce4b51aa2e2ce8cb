"""kubelet with containerd in the guest: a node of a control plane that runs on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from cluster.components import images
from cluster.components.control_plane import ControlPlane
from tests.guest.files import save, send
from tests.guest.machine import HOST, Machine
from tests.waiting import eventually

NODE = "guest"
FOLDER = "/srv/kubelet"
CONTAINERD = """
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
"""
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cgroupDriver": "cgroupfs",
    # Neither limits nor reservations: one pod is all that runs here.
    "cgroupsPerQOS": False,
    "enforceNodeAllocatable": [],
    "failSwapOn": False,
    "resolvConf": "",
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
    # Nothing connects to this kubelet: the host cannot reach it.
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
}


@contextmanager
def joined(guest: Machine, plane: ControlPlane, folder: Path) -> Iterator[str]:
    """The guest is a node of this control plane. Gives the name of an image that pods on it can have."""
    pause = images.make_pause_image(plane.binaries)
    name = images.full_name(pause)
    guest.run(f"mkdir -p {FOLDER} && modprobe overlay")
    send(guest, plane.binaries.path("kubelet").resolve(), f"(cat >{FOLDER}/kubelet && chmod +x {FOLDER}/kubelet)")
    guest.write(f"{FOLDER}/containerd.toml", CONTAINERD.format(pause=name))
    guest.write(f"{FOLDER}/kubelet.yaml", yaml.safe_dump(KUBELET))
    guest.write(f"{FOLDER}/kubeconfig", json.dumps(_kubeconfig(plane)))
    guest.start("containerd", "--config", f"{FOLDER}/containerd.toml", name="containerd")
    try:
        guest.until("ctr version", timeout_s=120)
        send(guest, save(pause, folder / "pause.tar"), "ctr -n k8s.io images import -")
        options = (
            f"--config={FOLDER}/kubelet.yaml",
            f"--kubeconfig={FOLDER}/kubeconfig",
            f"--hostname-override={NODE}",
        )
        guest.start(f"{FOLDER}/kubelet", *options, name="kubelet")
        eventually(lambda: NODE in plane.kubectl("get", "nodes", "-o", "name"), "the guest to be a node", 240)
        yield name
    finally:
        guest.run("kill $(cat /tmp/kubelet.pid)", check=False)
        guest.run("ctr -n k8s.io tasks ls -q | xargs -r -n1 ctr -n k8s.io tasks kill -s KILL", check=False)
        guest.run("kill $(cat /tmp/containerd.pid)", check=False)
        plane.kubectl("delete", "node", NODE, "--ignore-not-found")


def _kubeconfig(plane: ControlPlane) -> object:
    """The node's own, by the address at which the guest sees the host's loopback."""
    document = yaml.safe_load(plane.make_kubeconfig(f"system:node:{NODE}", ("system:nodes",)).read_text())
    [cluster] = document["clusters"]
    cluster["cluster"] |= {"server": plane.url.replace(plane.address, HOST), "tls-server-name": plane.address}
    return document
