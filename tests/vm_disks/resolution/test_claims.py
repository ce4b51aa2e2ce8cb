"""Claims that give no LUN, or another address than one would think: each error names claim, PV and fix."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lundock_common.portal import Portal
from vm_disks import resolve
from vm_disks.errors import (
    BadAddress,
    BindingBroken,
    ClaimBeingDeleted,
    ClaimError,
    ClaimMissing,
    ClaimUnbound,
    ClaimUnfinished,
    CredentialsError,
    Faults,
    NotIscsi,
)
from vm_disks.model import ClaimSource, DiskSpec, VmSpec
from vm_disks.resolution import claims
from vm_disks.resolution.address import LunAddress
from vm_disks.resolution.lookup import FromManifests

CLAIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "disk", "namespace": "vms", "uid": "u1"},
    "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOnce"]},
    "status": {"phase": "Bound"},
}
VOLUME: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "pv"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "claimRef": {"namespace": "vms", "name": "disk", "uid": "u1"},
        "iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:a", "lun": 1},
    },
}


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at a dotted path; None takes it away."""
    whole = copy.deepcopy(document)
    *steps, last = path.split(".")
    place = whole
    for step in steps:
        place = place.setdefault(step, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return whole


def look_up(*documents: dict[str, Any], inside: bool = True, overlay: bool = False) -> LunAddress:
    source = ClaimSource("disk", overlay=overlay)
    lookup = FromManifests(documents, "vms", inside_cluster=inside)
    return claims.resolve(source, "vms", "spec.volumes[0]", lookup).address


def test_a_bound_claim_gives_its_address() -> None:
    assert look_up(CLAIM, VOLUME) == LunAddress((Portal("192.0.2.1"),), "iqn.2001-04.com.example:a", 1)


@pytest.mark.parametrize(
    ("kind", "documents", "reason", "fix"),
    [
        (ClaimMissing, [VOLUME], "there is none", "Create it in namespace vms, or correct claimName"),
        (
            ClaimMissing,
            [changed(CLAIM, "metadata.namespace", "other"), VOLUME],
            "there is none",
            "There is one in other, but a VM's claims are in its own namespace",
        ),
        (ClaimUnbound, [changed(CLAIM, "status.phase", "Pending")], "not bound .phase Pending", "describe pvc disk"),
        (ClaimUnbound, [changed(changed(CLAIM, "status", None), "spec.volumeName", None)], "not bound", "give the PV"),
        (
            ClaimBeingDeleted,
            [changed(CLAIM, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z"), VOLUME],
            "it is being deleted",
            "use another",
        ),
        (
            ClaimBeingDeleted,
            [CLAIM, changed(VOLUME, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z")],
            "PV is being deleted",
            "Use another",
        ),
        (
            ClaimUnfinished,
            [changed(CLAIM, "metadata.annotations", {claims.CDI_PHASE: "Running"}), VOLUME],
            "not filled it yet .phase Running",
            "Wait until it has",
        ),
        (BindingBroken, [changed(CLAIM, "status.phase", "Lost")], "its PV is gone", "create it anew"),
        (BindingBroken, [CLAIM], "there is no such PV", "Give its manifest"),
        (
            BindingBroken,
            [CLAIM, changed(VOLUME, "spec.claimRef.namespace", "other")],
            "bound to other/disk",
            "in its namespace",
        ),
        (BindingBroken, [CLAIM, changed(VOLUME, "spec.claimRef.uid", "u0")], "an earlier claim", "create it anew"),
        (
            NotIscsi,
            [CLAIM, changed(changed(VOLUME, "spec.iscsi", None), "spec.csi", {"driver": "x"})],
            "its volume is csi, not iSCSI",
            "iSCSI StorageClass",
        ),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.targetPortal", "a:0")], "not a port from 1", "spec.iscsi"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.portals", ["a", "b:70000"])], "70000", "spec.iscsi"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.iscsiInterface", "iser")], "TCP only", "TCP portal"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.iqn", "iqn.2001-04.com/x")], "not an iSCSI name", "iqn"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.initiatorName", "me")], "'me' is not an iSCSI", "initiator"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.lun", 16384)], "16384 is not a number", "lun"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.lun", "1")], "'1' is not a number", "lun"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.chapAuthSession", True)], "no secretRef", "Add spec.iscsi"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.chapAuthSession", "no")], "'no' is not true or", "chapAuth"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.readOnly", "true")], "'true' is not true or", "readOnly"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.iqn", "iqn.2001-04.com:\x01")], "not an iSCSI name", "iqn"),
        (BadAddress, [CLAIM, changed(VOLUME, "spec.iscsi.iqn", "iqn.2001-04.com:\ud800")], "not an iSCSI name", "iqn"),
    ],
)
def test_a_claim_without_a_lun_is_an_error_with_its_fix(
    kind: type[ClaimError], documents: list[dict[str, Any]], reason: str, fix: str
) -> None:
    with pytest.raises(kind, match=reason) as refused:
        look_up(*documents)
    assert fix in str(refused.value)
    assert "claim vms/disk" in str(refused.value)
    assert str(refused.value).startswith("spec.volumes[0]: ")


def test_the_portals_are_the_target_portal_first_and_no_other_twice() -> None:
    volume = changed(VOLUME, "spec.iscsi.portals", ["192.0.2.2:3261", "192.0.2.1:3260", "[2001:db8::1]"])
    portals = look_up(CLAIM, volume).portals
    assert portals == (Portal("192.0.2.1"), Portal("192.0.2.2", 3261), Portal("2001:db8::1"))


@pytest.mark.parametrize(
    ("claim", "volume"),
    [
        (CLAIM, changed(VOLUME, "spec.iscsi.readOnly", True)),
        (changed(CLAIM, "spec.accessModes", ["ReadOnlyMany"]), VOLUME),
    ],
)
def test_the_pv_or_the_claim_makes_a_disk_read_only(claim: dict[str, Any], volume: dict[str, Any]) -> None:
    lookup = FromManifests([claim, volume])
    vm = VmSpec("vm", "vms", (DiskSpec("d", "spec.volumes[0]", ClaimSource("disk")),))
    (disk,) = resolve(vm, lookup)
    assert (disk.read_only, disk.bus) == (True, "virtio")
    sata = VmSpec("vm", "vms", (DiskSpec("d", "spec.disks[0]", ClaimSource("disk"), bus="sata"),))
    with pytest.raises(Faults, match=r"spec.disks\[0\]: 'sata'.*PV pv or its claim is read-only"):
        resolve(sata, lookup)


def service(name: str, **fields: object) -> dict[str, Any]:
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": "lundock"}, **fields}


def test_outside_the_cluster_a_service_becomes_its_address() -> None:
    volume = changed(VOLUME, "spec.iscsi.targetPortal", "target-0.lundock.svc.cluster.local:3261")
    in_cluster = service("target-0", spec={"clusterIP": "10.0.0.7"})
    assert look_up(CLAIM, volume, in_cluster).portals[0].host == "target-0.lundock.svc.cluster.local"
    assert look_up(CLAIM, volume, in_cluster, inside=False).portals == (Portal("10.0.0.7", 3261),)
    balanced = {**in_cluster, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    assert look_up(CLAIM, volume, balanced, inside=False).portals == (Portal("192.0.2.9", 3261),)


@pytest.mark.parametrize("host", ["192.0.2.1", "storage.example.com", "target-0.lundock.svc"])
def test_outside_the_cluster_other_hosts_stay(host: str) -> None:
    headless = service("target-0", spec={"clusterIP": "None"})
    volume = changed(VOLUME, "spec.iscsi.targetPortal", host)
    assert look_up(CLAIM, volume, headless, inside=False).portals == (Portal(host),)


def test_outside_the_cluster_an_annotation_says_the_portal() -> None:
    volume = changed(VOLUME, "metadata.annotations", {claims.PORTAL_OVERRIDE: "gateway:13260"})
    assert look_up(CLAIM, volume, inside=False).portals == (Portal("gateway", 13260),)
    assert look_up(CLAIM, volume).portals == (Portal("192.0.2.1"),)
    bad = changed(VOLUME, "metadata.annotations", {claims.PORTAL_OVERRIDE: "gateway:0"})
    with pytest.raises(BadAddress, match=r"annotation lundock\.io/portal-override"):
        look_up(CLAIM, bad, inside=False)


def with_chap(**ref: str) -> dict[str, Any]:
    return changed(changed(VOLUME, "spec.iscsi.chapAuthSession", True), "spec.iscsi.secretRef", ref)


def secret(namespace: str, **values: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "chap", "namespace": namespace},
        "stringData": {f"node.session.auth.{key}": value for key, value in values.items()},
    }


def test_chap_is_read_from_the_secret_in_its_namespace() -> None:
    there = secret("other", username="u", password="p")
    reference = look_up(CLAIM, with_chap(name="chap", namespace="other"), there).chap
    assert reference is not None
    assert (str(reference), reference.username) == ("other/chap", "u")
    beside = look_up(CLAIM, with_chap(name="chap"), secret("vms", username="u", password="p")).chap
    assert str(beside) == "vms/chap"


def test_a_bad_secret_is_an_error_that_names_secret_claim_and_pv() -> None:
    mutual = secret("vms", username="u", password="p", username_in="t")
    with pytest.raises(CredentialsError, match=r"Secret vms/chap: .*mutual CHAP.*claim vms/disk, PV pv"):
        look_up(CLAIM, with_chap(name="chap"), mutual)
    with pytest.raises(CredentialsError, match="there is none"):
        look_up(CLAIM, with_chap(name="chap"))


def test_our_own_provisioners_username_is_known_without_the_secret() -> None:
    volume = with_chap(name="pvc-1-chap", namespace="vms")
    volume["metadata"]["annotations"] = {claims.VOLUME_ID: "pvc-1"}
    reference = look_up(CLAIM, volume).chap
    assert reference is not None
    assert reference.username == "pvc-1"


def test_its_secret_is_not_read_before_the_vm_starts() -> None:
    """So that who may read claims and PVs, and no Secrets, can still print the XML."""

    class WithoutSecrets(FromManifests):
        def secret(self, namespace: str, name: str) -> Any:
            raise AssertionError(f"{namespace}/{name} was read")

    volume = with_chap(name="pvc-1-chap", namespace="vms")
    volume["metadata"]["annotations"] = {claims.VOLUME_ID: "pvc-1"}
    assert claims.resolve(ClaimSource("disk"), "vms", "", WithoutSecrets([CLAIM, volume])).address.chap


def test_a_secret_whose_name_is_a_path_is_refused() -> None:
    with pytest.raises(BadAddress, match=r"secretRef \.\./pv is no name"):
        look_up(CLAIM, with_chap(name="pv", namespace=".."))


def test_discovery_chap_alone_asks_for_nothing_of_qemu() -> None:
    assert look_up(CLAIM, changed(VOLUME, "spec.iscsi.chapAuthDiscovery", True)).chap is None


def test_all_claims_of_a_vm_are_reported_at_once() -> None:
    disks = tuple(DiskSpec(name, f"spec.volumes[{i}]", ClaimSource(name)) for i, name in enumerate(("a", "disk", "b")))
    with pytest.raises(Faults) as refused:
        resolve(VmSpec("vm", "vms", disks), FromManifests([CLAIM, VOLUME]))
    assert [type(error) for error in refused.value.errors] == [ClaimMissing, ClaimMissing]


def test_one_claim_under_two_writing_disks_is_refused() -> None:
    def twice(**fields: Any) -> VmSpec:
        return VmSpec("vm", "vms", tuple(DiskSpec(n, f"disks.{n}", ClaimSource("disk"), **fields) for n in ("a", "b")))

    lookup = FromManifests([CLAIM, VOLUME])
    with pytest.raises(Faults, match=r"disks.b: claim 'disk' is the LUN of disk 'a' too"):
        resolve(twice(), lookup)
    assert len(resolve(twice(shareable=True), lookup)) == 2
    assert len(resolve(twice(read_only=True), lookup)) == 2


def test_one_lun_by_two_claims_is_refused_and_so_is_a_layer_over_what_another_disk_writes() -> None:
    other_claim = changed(changed(CLAIM, "metadata.name", "again"), "spec.volumeName", "pv2")
    ref = {"namespace": "vms", "name": "again"}
    other_volume = changed(changed(VOLUME, "metadata.name", "pv2"), "spec.claimRef", ref)
    lookup = FromManifests([CLAIM, VOLUME, other_claim, other_volume])

    def both(**second: Any) -> VmSpec:
        overlay = second.pop("overlay", False)
        disks = (
            DiskSpec("a", "disks.a", ClaimSource("disk")),
            DiskSpec("b", "disks.b", ClaimSource("again", overlay=overlay), **second),
        )
        return VmSpec("vm", "vms", disks)

    for second in ({}, {"overlay": True}, {"read_only": True}):
        with pytest.raises(Faults, match=r"disks.b: claim 'again' is the LUN of disk 'a' too .LUN 1 of iqn.2001-04"):
            resolve(both(**second), lookup)
    layers = tuple(DiskSpec(name, name, ClaimSource("disk", overlay=True)) for name in ("a", "b"))
    assert len(resolve(VmSpec("vm", "vms", layers), lookup)) == 2


def test_a_lun_that_its_pv_makes_read_only_may_be_two_disks() -> None:
    lookup = FromManifests([CLAIM, changed(VOLUME, "spec.iscsi.readOnly", True)])
    disks = tuple(DiskSpec(name, name, ClaimSource("disk")) for name in ("a", "b"))
    assert len(resolve(VmSpec("vm", "vms", disks), lookup)) == 2


def test_every_secret_usage_is_unique_to_vm_and_disk() -> None:
    volume, there = with_chap(name="chap"), secret("vms", username="u", password="p")
    disks = tuple(DiskSpec(name, name, ClaimSource("disk"), read_only=True) for name in ("a", "b"))
    lookup = FromManifests([CLAIM, volume, there])
    usages = [d.secret_usage for name in ("x", "y") for d in resolve(VmSpec(name, "vms", disks), lookup)]
    assert usages == ["lundock:vms:x:a", "lundock:vms:x:b", "lundock:vms:y:a", "lundock:vms:y:b"]
