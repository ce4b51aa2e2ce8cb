"""The chart on the whole embedded cluster: install, claims, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from cluster.embedded import Cluster
from tests.chart.helm import Document, Helm

READY = ("--wait", "--timeout", "180s")


@dataclass(frozen=True)
class Installed:
    """A release that runs. Its namespace, its StorageClass and its provisioner are called after it."""

    helm: Helm
    cluster: Cluster
    values: Document

    @property
    def namespace(self) -> str:
        return self.helm.namespace

    @property
    def target(self) -> str:
        return f"{self.helm.release}-lundock-target"

    def upgrade(self, **target: Any) -> str:
        """Install again, with other values of `target`, and wait until it runs."""
        changed = {**self.values, "target": {**self.values["target"], **target}}
        return self.helm.install(changed, *READY)

    def test(self) -> str:
        """Run `helm test`; gives the log of its pod."""
        self.helm.run("test", self.helm.release, "--namespace", self.namespace, "--timeout", "300s", timeout_s=320)
        return self.cluster.kubectl("logs", f"{self.helm.release}-lundock-test", "-n", self.namespace)

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        text = self.cluster.kubectl("get", kind, name, "-n", namespace or self.namespace, "-o", "json")
        found: dict[str, Any] = json.loads(text)
        return found

    def claim(self, name: str, **annotations: str) -> dict[str, Any]:
        """A claim of the release's class in the namespace `default`, once it is Bound; gives its PV."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "storageClassName": self.helm.release,
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": "Block",
                "resources": {"requests": {"storage": "64Mi"}},
            },
        }
        self.cluster.kubectl("apply", "-n", "default", "-f", "-", stdin=yaml.safe_dump(claim))
        bound = ("--for=jsonpath={.status.phase}=Bound", "--timeout=120s")
        self.cluster.kubectl("wait", f"pvc/{name}", *bound, "-n", "default")
        return self.get("pv", self.get("pvc", name, "default")["spec"]["volumeName"])

    def delete_claim(self, name: str) -> None:
        """Delete a claim and wait until its PV is gone, which is when its volume is."""
        volume = self.get("pvc", name, "default")["spec"]["volumeName"]
        self.cluster.kubectl("delete", "pvc", name, "-n", "default")
        self.cluster.kubectl("wait", f"pv/{volume}", "--for=delete", "--timeout=120s")


@cache
def load_images(cluster: Cluster) -> None:
    """The chart's images, built if need be: once for all releases of a test run."""
    for image in ("target", "provisioner", "runner"):
        cluster.load(f"lundock/{image}:0.1.0")


@contextmanager
def installed(
    helm: Helm, cluster: Cluster, name: str, *, security: str = "restricted", target: Document | None = None
) -> Iterator[Installed]:
    """A release in a namespace that is held to a Pod Security Standard, with small volumes; removed afterwards."""
    load_images(cluster)
    namespace = f"chart-{name}"
    labels = {"pod-security.kubernetes.io/enforce": security}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))
    values = {
        "provisioner": {"name": f"{name}.example"},
        "storageClasses": [{"name": name}],
        "target": {"persistence": {"size": "1Gi"}, "settings": {"delete_grace_s": 0}, **(target or {})},
    }
    release = Helm(helm.binary, cluster.kubeconfig, name, namespace)
    try:
        release.install(values, *READY)
        yield Installed(release, cluster, values)
    finally:
        release.run("uninstall", name, "--namespace", namespace, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
