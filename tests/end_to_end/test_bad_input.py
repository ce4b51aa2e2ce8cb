"""What cannot work says so on the object, or on the terminal, and nothing is half made."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.embedded import Cluster
from cluster.machine.waiting import wait_for
from tests.end_to_end.conftest import VmDisks

pytestmark = pytest.mark.cluster

Apply = Callable[..., str]


@pytest.fixture
def apply(node: Cluster, release: str) -> Iterator[Apply]:
    """Make a claim, of a class of its own where parameters are given; all are deleted afterwards."""
    made: list[tuple[str, str]] = []

    def make(storage: str = "64Mi", image: str | None = None, parameters: dict[str, str] | None = None) -> str:
        name = f"bad-{uuid.uuid4().hex[:8]}"
        documents: list[dict[str, Any]] = []
        if parameters:
            documents.append(
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": name},
                    "provisioner": "iscsi.lundock.io",
                    "parameters": parameters,
                }
            )
            made.append(("storageclass", name))
        metadata = {"name": name, "annotations": {"lundock.io/image": image} if image else {}}
        spec = {
            "storageClassName": name if parameters else "lundock",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage}},
        }
        documents.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
        made.append(("pvc", name))
        node.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
        return name

    yield make
    for kind, name in reversed(made):
        node.kubectl("delete", kind, name, "--timeout=60s")


def failure(node: Cluster, claim: str) -> str:
    """The message of the claim's event ProvisioningFailed, once there is one."""
    messages: list[str] = []

    def is_there() -> bool:
        found = json.loads(node.kubectl("get", "events", "-o", "json"))["items"]
        messages[:] = [
            event["message"]
            for event in found
            if event["involvedObject"]["name"] == claim and event["reason"] == "ProvisioningFailed"
        ]
        return bool(messages)

    assert wait_for(is_there, timeout_s=60), node.kubectl("get", "events")
    return messages[-1]


def test_an_unknown_image(apply: Apply, node: Cluster) -> None:
    assert "no-such-image" in failure(node, apply(image="no-such-image"))


def test_more_than_there_is_space_for(apply: Apply, node: Cluster, release: str) -> None:
    claim = apply(storage="900Ti")
    message = failure(node, claim)
    assert "space" in message or "free" in message
    uid = node.kubectl("get", "pvc", claim, "-o", "jsonpath={.metadata.uid}")
    volumes = node.kubectl("-n", release, "exec", "lundock-target-0", "--", "lundock-target", "volumes", "list")
    assert uid not in volumes


def test_an_unknown_parameter_names_the_known_ones(apply: Apply, node: Cluster) -> None:
    message = failure(node, apply(parameters={"fstyp": "ext4"}))
    assert "fstyp" in message
    assert "fsType" in message


def vm(claim: str, tmp_path: Path) -> Path:
    spec = {
        "domain": {"devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]}},
        "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": claim}}],
    }
    document = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": f"vm-{claim}"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}},
    }
    path = tmp_path / "vm.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_a_vm_whose_claim_is_missing(node: Cluster, vm_disks: VmDisks, tmp_path: Path) -> None:
    done = vm_disks("start", "-f", vm("never-made", tmp_path))
    assert done.returncode == 1
    assert "never-made" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_vm_whose_claim_is_not_bound(apply: Apply, vm_disks: VmDisks, tmp_path: Path) -> None:
    claim = apply(image="no-such-image")
    done = vm_disks("start", "-f", vm(claim, tmp_path))
    assert done.returncode == 1
    assert claim in done.stderr
    assert "not bound" in done.stderr


def test_a_vm_whose_volume_is_not_iscsi(node: Cluster, vm_disks: VmDisks, tmp_path: Path) -> None:
    name = f"local-{uuid.uuid4().hex[:8]}"
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "",
            "volumeName": name,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "default", "name": name},
            "hostPath": {"path": "/nowhere"},
        },
    }
    node.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([volume, claim]))
    try:
        node.kubectl("wait", f"pvc/{name}", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
        done = vm_disks("start", "-f", vm(name, tmp_path))
        assert done.returncode == 1
        assert name in done.stderr
        assert "iscsi" in done.stderr.lower()
    finally:
        node.kubectl("delete", "pvc", name, "--timeout=60s")
        node.kubectl("delete", "pv", name, "--timeout=60s")
