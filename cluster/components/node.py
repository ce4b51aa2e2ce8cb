"""One node: kubelet on a containerd of our own, and kube-proxy, by which the host reaches Services too."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster.components.containers import CGROUP, Containers, make_cgroup, unmount_below
from cluster.components.control_plane import ControlPlane
from cluster.errors import CommandFailed
from cluster.machine import network
from cluster.places import Places, write

NAME = "lundock"
VOLUME_COUNT = 32


@dataclass(frozen=True)
class Node:
    """The node of a control plane; needs root."""

    plane: ControlPlane

    @property
    def containers(self) -> Containers:
        return Containers(self.plane.places)

    def start(self) -> None:
        """Start kubelet and kube-proxy unless they run; containerd does already, with the pause image in it."""
        make_cgroup()
        self._start_kubelet()
        self._start_kube_proxy()

    def wait(self, timeout_s: float = 90) -> None:
        """Wait until the node is ready to run pods.

        Raises:
            NotReady: with the end of kubelet's log.
        """
        self.plane.processes.wait("kubelet", self.is_ready, timeout_s)

    def is_ready(self) -> bool:
        condition = "{.status.conditions[?(@.type=='Ready')].status}"
        try:
            return self.plane.kubectl("get", "node", NAME, "-o", f"jsonpath={condition}") == "True"
        except CommandFailed:
            return False

    def clean(self) -> None:
        """End everything on the node and remove its traces; the images stay. Works after any crash."""
        self.containers.clean()
        network.tear_down()
        for folder in (self.plane.places.kubelet, self.plane.places.volumes):
            unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)
        for link in Path("/var/log/containers").glob("*.log"):
            if str(link.readlink()).startswith(f"{self.plane.places.kubelet}/"):
                link.unlink()

    def _start_kubelet(self) -> None:
        plane = self.plane
        write(plane.places.run / "resolv.conf", f"nameserver {network.DNS}\n")
        serving = plane.authority.issue("kubelet", "kubelet", addresses=[network.NODE, NAME])
        configuration = {
            **kubelet_configuration(plane.places),
            "port": plane.ports.kubelet,
            "healthzPort": plane.ports.kubelet_health,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(plane.authority.files.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
        }
        file = plane.places.run / "kubelet.yaml"
        write(file, yaml.safe_dump(configuration))
        plane.processes.start(
            "kubelet",
            plane.binaries.path("kubelet"),
            f"--config={file}",
            f"--kubeconfig={plane.make_kubeconfig(f'system:node:{NAME}', ('system:nodes',))}",
            f"--root-dir={plane.places.kubelet}",
            f"--hostname-override={NAME}",
            f"--node-ip={network.NODE}",
        )

    def _start_kube_proxy(self) -> None:
        plane = self.plane
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(plane.make_kubeconfig("system:kube-proxy"))},
            "hostnameOverride": NAME,
            "clusterCIDR": network.PODS,
            "detectLocalMode": "ClusterCIDR",
            "healthzBindAddress": "",
            "metricsBindAddress": f"127.0.0.1:{plane.ports.proxy_metrics}",
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
            "oomScoreAdj": 0,
        }
        file = plane.places.run / "kube-proxy.yaml"
        write(file, yaml.safe_dump(configuration))
        plane.processes.start("kube-proxy", plane.binaries.path("kube-proxy"), f"--config={file}")


def kubelet_configuration(places: Places) -> dict[str, object]:
    """kubelet's configuration but for its ports and for whom it trusts."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE,
        "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.DNS],
        "clusterDomain": "cluster.local",
        # Also for pods that ask for the node's resolver: the host's may be one that only the host reaches.
        "resolvConf": str(places.run / "resolv.conf"),
        # Nothing is removed for lack of space: a developer's disk is often nearly full, and the images were loaded by
        # hand.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        # What changes the host beyond the cluster's own things stays off.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "volumePluginDir": str(places.kubelet / "volume-plugins"),
        "podLogsDir": str(places.kubelet / "pod-logs"),
        "syncFrequency": "10s",
    }


def make_volumes(folder: Path) -> str:
    """The default StorageClass `local` with some volumes of this node: for claims of pods, such as the target's data.

    Kubernetes has no provisioner of its own; these are made beforehand, each for one claim.
    """
    items: list[dict[str, object]] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}
    for number in range(VOLUME_COUNT):
        path = folder / f"{number:02}"
        path.mkdir(parents=True, exist_ok=True)
        items.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"local-{number:02}"},
                "spec": {
                    "capacity": {"storage": "100Gi"},
                    # ReadWriteOncePod may not stand beside another mode, so each has half of the volumes.
                    "accessModes": [("ReadWriteOnce", "ReadWriteOncePod")[number % 2]],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "local",
                    "local": {"path": str(path)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
                },
            }
        )
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
