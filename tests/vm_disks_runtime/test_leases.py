"""Leases on a real API server: one VM at a time writes to a ReadWriteOnce claim."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.components.control_plane import ControlPlane
from vm_disks.errors import LeaseHeld
from vm_disks.model import ClaimSource, Disk, DiskSpec, VmSpec
from vm_disks.resolution import lookup as lookups
from vm_disks.resolution.lookup import FromManifests
from vm_disks.runtime import launch, state
from vm_disks.runtime.leases import Holder, Leases, exclusive_claims, lease_name, owners


def disk(claim: str, *, read_only: bool = False, overlay: bool = False) -> Disk:
    spec = DiskSpec(claim, "disks", ClaimSource(claim, overlay=overlay))
    return Disk(spec, "virtio", "vda", read_only, claim=claim, volume=f"pv-{claim}")


def manifest(name: str, *modes: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": list(modes)},
    }


def test_only_what_one_vm_may_write_needs_a_lease() -> None:
    modes = {
        "once": ["ReadWriteOnce"],
        "pod": ["ReadWriteOncePod"],
        "many": ["ReadWriteMany"],
        "both": ["ReadWriteOnce", "ReadWriteMany"],
    }
    lookup = FromManifests([manifest(name, *its) for name, its in modes.items()])
    disks = [disk(name) for name in modes] + [disk("once", read_only=True), disk("pod", overlay=True), disk("once")]

    assert exclusive_claims(VmSpec("vm", "default", ()), disks, lookup) == ["once", "pod"]
    assert exclusive_claims(VmSpec("vm", "default", ()), disks[4:6], lookup) == []


def test_a_lease_name_fits_whatever_the_claim() -> None:
    names = {lease_name("a" * 253), lease_name("a" * 252 + "b"), lease_name("data")}
    assert len(names) == 3
    assert all(len(name) <= 253 for name in names)


def test_a_lease_belongs_to_the_pod_that_is_known() -> None:
    assert owners({}) == []
    assert owners({"POD_NAME": "vm"}) == []
    assert owners({"POD_NAME": "vm", "POD_UID": "1"}) == [{"apiVersion": "v1", "kind": "Pod", "name": "vm", "uid": "1"}]


@pytest.mark.cluster
class TestOnAnApiServer:
    @pytest.fixture
    def namespace(self, control_plane: ControlPlane) -> str:
        name = f"leases-{uuid.uuid4().hex[:8]}"
        control_plane.kubectl("create", "namespace", name)
        return name

    @pytest.fixture
    def leases(self, control_plane: ControlPlane, namespace: str) -> Any:
        cluster = lookups.connect(str(control_plane.kubeconfig))
        return lambda host, domain: Leases(cluster, namespace, Holder(host, domain))

    def holder(self, control_plane: ControlPlane, namespace: str) -> list[str]:
        shown = json.loads(control_plane.kubectl("get", "leases", "-n", namespace, "-o", "json"))
        return [lease["spec"]["holderIdentity"] for lease in shown["items"]]

    def test_another_host_must_be_forced(self, leases: Any, control_plane: ControlPlane, namespace: str) -> None:
        leases("a", "vm").acquire("data", runs=lambda _: False)

        with pytest.raises(LeaseHeld, match="domain vm on host a"):
            leases("b", "vm").acquire("data", runs=lambda _: False)
        leases("b", "vm").release("data")
        assert self.holder(control_plane, namespace) == ["a/vm"], "who does not hold it does not release it"

        leases("b", "vm").acquire("data", runs=lambda _: False, force=True)
        assert self.holder(control_plane, namespace) == ["b/vm"]
        leases("b", "vm").release("data")
        assert self.holder(control_plane, namespace) == []
        leases("b", "vm").release("data")

    def test_on_one_host_the_domain_decides(self, leases: Any, control_plane: ControlPlane, namespace: str) -> None:
        leases("a", "first").acquire("data", runs=lambda _: False)
        leases("a", "first").acquire("data", runs=lambda _: False)

        with pytest.raises(LeaseHeld):
            leases("a", "second").acquire("data", runs=lambda domain: domain == "first")
        leases("a", "second").acquire("data", runs=lambda _: False)

        assert self.holder(control_plane, namespace) == ["a/second"]

    def test_a_domain_that_is_being_started_keeps_its_lease(
        self, control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Between its Lease and its domain a start has nothing but a lock to be known by."""
        monkeypatch.setattr(state, "SYSTEM_DIRECTORY", tmp_path)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        claim = manifest("data", "ReadWriteOnce")
        claim["metadata"]["namespace"] = namespace
        claim["spec"] |= {"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
        control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(claim))
        cluster = lookups.connect(str(control_plane.kubeconfig))
        host = SimpleNamespace(place="here", runs=lambda _: False)
        first, second = VmSpec("first", namespace, ()), VmSpec("second", namespace, ())
        with state.starting("here", f"{namespace}_first"):
            launch.reserve(first, [disk("data")], cluster, host)  # type: ignore[arg-type]
            with pytest.raises(LeaseHeld, match=r"claim .*/data .PV pv-data. is in use.*domain .*_first on host here"):
                launch.reserve(second, [disk("data")], cluster, host)  # type: ignore[arg-type]
        launch.reserve(second, [disk("data")], cluster, host)  # type: ignore[arg-type]
        assert self.holder(control_plane, namespace) == [f"here/{namespace}_second"]

    @pytest.mark.parametrize("own", [True, False])
    def test_only_a_lease_of_the_pods_own_namespace_belongs_to_the_pod(
        self, control_plane: ControlPlane, namespace: str, own: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The garbage collector would delete another at once, and the VM would run without."""
        monkeypatch.setenv("POD_NAME", "vm")
        monkeypatch.setenv("POD_UID", str(uuid.uuid4()))
        cluster = lookups.connect(str(control_plane.kubeconfig))
        cluster.pod_namespace = namespace if own else "elsewhere"
        lease = Leases(cluster, namespace, Holder("pod", "vm"))._lease("vm-disks-data", "data")
        assert bool(lease["metadata"]["ownerReferences"]) is own
