"""What a claim's owner sees, on a real API server with a real target and its tgtd."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lundock_common import kubernetes_api, quantity
from lundock_common.kubernetes_api import CLASSES
from target_image.api import requests, responses
from tests.provisioner.stage import Stage, TargetProcess
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

MIB = 2**20


def password(secret: dict[str, Any] | None) -> str:
    assert secret is not None
    return base64.b64decode(secret["data"]["node.session.auth.password"]).decode()


def patch_pv(stage: Stage, pv: dict[str, Any], body: dict[str, Any]) -> None:
    stage.kube.patch(kubernetes_api.volume_path(pv["metadata"]["name"]), body)


def wait_gone(stage: Stage, pv: dict[str, Any]) -> None:
    name = pv["metadata"]["name"]
    eventually(lambda: name not in {item["metadata"]["name"] for item in stage.pvs()}, f"PV {name} to go")


def test_a_claim_becomes_a_lun_and_goes_with_it(stage: Stage, target: TargetProcess) -> None:
    stage.claim("disk", "10Mi")
    pv = stage.bound("disk")
    volume_id = pv["metadata"]["name"]
    iscsi = pv["spec"]["iscsi"]
    assert iscsi["iqn"] == f"iqn.2026-11.io.lundock:{volume_id}"
    assert iscsi["targetPortal"] == f"127.0.0.1:{target.iscsi_port}"
    assert (iscsi["lun"], iscsi["fsType"], iscsi["chapAuthSession"]) == (1, "ext4", True)
    assert pv["metadata"]["annotations"]["lundock.io/volume"] == volume_id
    assert quantity.parse(pv["spec"]["capacity"]["storage"]) == 10 * MIB
    secret = stage.secret(pv)
    assert secret is not None
    assert secret["type"] == "kubernetes.io/iscsi-chap"
    assert base64.b64decode(secret["data"]["node.session.auth.username"]).decode() == volume_id
    assert password(secret) not in str(pv)
    export = target.client.get_export(volume_id)
    assert export is not None
    assert export.chap is not None
    assert export.owner is not None
    assert (export.owner.namespace, export.owner.claim) == (stage.namespace, "disk")
    stage.wait_event("disk", "ProvisioningSucceeded: Successfully provisioned volume")

    stage.delete_claim("disk")
    wait_gone(stage, pv)
    assert target.client.get_volume(volume_id) is None
    assert target.client.get_export(volume_id) is None
    eventually(lambda: stage.secret(pv) is None, "the secret to go")


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("rwx-block", {"accessModes": ["ReadWriteMany"], "volumeMode": "Block"}),
        ("rwop", {"accessModes": ["ReadWriteOncePod"]}),
        ("selector", {"selector": {"matchLabels": {"os": "alpine"}}}),
    ],
)
def test_what_claims_may_ask_for(stage: Stage, name: str, spec: dict[str, Any]) -> None:
    stage.claim(name, **spec)
    pv = stage.bound(name)
    assert pv["spec"]["accessModes"] == spec.get("accessModes", ["ReadWriteOnce"])
    assert pv["spec"]["volumeMode"] == spec.get("volumeMode", "Filesystem")
    assert ("fsType" in pv["spec"]["iscsi"]) == (pv["spec"]["volumeMode"] == "Filesystem")
    assert pv["metadata"].get("labels", {}) == spec.get("selector", {}).get("matchLabels", {})


def test_a_classes_parameters_and_fields(stage: Stage, target: TargetProcess) -> None:
    parameters = {"fsType": "xfs", "chap": "off", "networks": "127.0.0.0/8", "portal": "iscsi.example.com"}
    fields = {"mountOptions": ["noatime"], "reclaimPolicy": "Retain"}
    stage.claim("full", storageClassName=stage.make_class(f"{stage.id}-full", parameters, **fields))
    pv = stage.bound("full")
    iscsi = pv["spec"]["iscsi"]
    assert (iscsi["fsType"], iscsi["targetPortal"]) == ("xfs", f"iscsi.example.com:{target.iscsi_port}")
    assert "secretRef" not in iscsi
    assert pv["spec"]["mountOptions"] == ["noatime"]
    assert "external-provisioner.volume.kubernetes.io/finalizer" not in pv["metadata"].get("finalizers", [])
    export = target.client.get_export(pv["metadata"]["name"])
    assert export is not None
    assert (export.chap, export.access.networks) == (None, ["127.0.0.0/8"])


def test_wait_for_first_consumer(stage: Stage) -> None:
    name = stage.make_class(f"{stage.id}-wait", volumeBindingMode="WaitForFirstConsumer")
    stage.claim("waiting", storageClassName=name)
    stage.claim("other")
    stage.bound("other")
    waiting = stage.get_claim("waiting")
    assert waiting is not None
    assert waiting["status"]["phase"] == "Pending"
    # The scheduler's part.
    stage.patch_claim("waiting", {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}})
    stage.bound("waiting")


def test_a_wrong_claim_is_told_once_and_taken_up_when_corrected(stage: Stage) -> None:
    stage.claim("wrong", notes={"lundock.io/image": "Not An Image"})
    line = stage.wait_event("wrong", "BadImage")
    assert line.startswith("ProvisioningFailed: BadImage: annotation lundock.io/image: 'Not An Image' is neither")
    stage.patch_claim("wrong", {"metadata": {"annotations": {"lundock.io/image": None}}})
    stage.bound("wrong")
    assert len(stage.events("wrong", "ProvisioningFailed")) == 1


def test_a_wrong_class_is_told_once_and_taken_up_when_corrected(stage: Stage) -> None:
    name = stage.make_class(f"{stage.id}-typo", {"fstyp": "xfs"})
    stage.claim("typo", storageClassName=name)
    line = stage.wait_event("typo", "UnknownParameter")
    assert "known are target, fsType, chap" in line
    stage.kube.delete(f"{CLASSES}/{name}")
    stage.make_class(name, {"fsType": "xfs"})
    assert stage.bound("typo")["spec"]["iscsi"]["fsType"] == "xfs"


def test_a_claim_that_is_too_large(stage: Stage, target: TargetProcess) -> None:
    stage.claim("huge", "900Ti")
    assert "ask for less" in stage.wait_event("huge", "NoSpace")
    stage.delete_claim("huge")
    eventually(lambda: stage.get_claim("huge") is None, "the claim to go")
    assert not [volume for volume in target.client.list_volumes() if volume.size_bytes > 2**40]


def test_an_unknown_image(stage: Stage) -> None:
    stage.claim("nope", notes={"lundock.io/image": "no-such-image"})
    assert "no-such-image" in stage.wait_event("nope", "UnknownImage")


def test_a_populators_claim(stage: Stage) -> None:
    stage.claim("populated", dataSourceRef={"apiGroup": "example.com", "kind": "Blob", "name": "x"})
    stage.wait_event("populated", "Provisioning: The claim's dataSourceRef is a Blob.example.com")
    assert not [pv for pv in stage.pvs() if pv["spec"]["claimRef"]["name"] == "populated"]


def test_a_clone_has_its_sources_data(stage: Stage, target: TargetProcess) -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "golden"}
    stage.claim("copy", dataSource=source)
    stage.wait_event("copy", "SourceNotBound")
    stage.claim("golden")
    golden = stage.bound("golden")["metadata"]["name"]
    copy = stage.bound("copy")["metadata"]["name"]
    volume = target.client.get_volume(copy)
    assert volume is not None
    assert volume.source == responses.VolumeSource(volume=golden)
    stage.claim("small", "4Mi", dataSource=source)
    stage.wait_event("small", "CloneTooSmall")


def test_growth(stage: Stage, target: TargetProcess) -> None:
    stage.claim("growing")
    pv = stage.bound("growing")
    stage.patch_claim("growing", {"spec": {"resources": {"requests": {"storage": "24Mi"}}}})

    def grown() -> bool:
        claim = stage.get_claim("growing")
        return claim is not None and claim["status"]["capacity"]["storage"] == "24Mi"

    eventually(grown, "the claim's status to show the new size")
    assert stage.kube.get(kubernetes_api.volume_path(pv["metadata"]["name"]))["spec"]["capacity"]["storage"] == "24Mi"
    volume = target.client.get_volume(pv["metadata"]["name"])
    assert volume is not None
    assert volume.size_bytes == 24 * MIB
    stage.wait_event("growing", "VolumeResizeSuccessful")


def test_policy_changes_and_a_claim_that_is_bound_again(stage: Stage, target: TargetProcess) -> None:
    stage.claim("kept")
    pv = stage.bound("kept")
    old_password = password(stage.secret(pv))
    patch_pv(stage, pv, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    ours = "external-provisioner.volume.kubernetes.io/finalizer"
    path = kubernetes_api.volume_path(pv["metadata"]["name"])
    eventually(lambda: ours not in stage.kube.get(path)["metadata"].get("finalizers", []), "the finalizer to go")
    stage.delete_claim("kept")
    eventually(lambda: stage.kube.get(path)["status"]["phase"] == "Released", "the PV to be released")
    assert target.client.get_volume(pv["metadata"]["name"]) is not None
    # An administrator hands it to another claim, by name: left without one, it may go to any that waits.
    reserved = {"namespace": stage.namespace, "name": "heir", "uid": None, "resourceVersion": None}
    patch_pv(stage, pv, {"spec": {"claimRef": reserved}})
    stage.claim("heir", volumeName=pv["metadata"]["name"])
    stage.bound("heir")
    eventually(lambda: (s := stage.secret(pv)) is not None and password(s) != old_password, "another password")
    patch_pv(stage, pv, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
    eventually(lambda: ours in stage.kube.get(path)["metadata"].get("finalizers", []), "the finalizer to come back")
    stage.delete_claim("heir")
    wait_gone(stage, pv)
    assert target.client.get_volume(pv["metadata"]["name"]) is None


def test_a_deleted_secret_comes_back_within_a_resync(stage: Stage) -> None:
    stage.claim("secret")
    pv = stage.bound("secret")
    before = stage.secret(pv)
    assert before is not None
    meta = before["metadata"]
    stage.kube.delete(kubernetes_api.secret_path(meta["namespace"], meta["name"]))
    eventually(lambda: (s := stage.secret(pv)) is not None and s["data"] == before["data"], "the secret to be back", 30)


def test_a_volume_that_was_taken_for_an_orphan_is_served_again_within_a_resync(
    stage: Stage, target: TargetProcess
) -> None:
    """What the sweep had done while its PV was away, before that came back from a backup."""
    stage.claim("found")
    pv = stage.bound("found")
    name, before = pv["metadata"]["name"], target.client.get_export(pv["metadata"]["name"])
    target.client.delete_export(name)
    target.client.trash_volume(name)
    eventually(lambda: target.client.get_export(name), "the export to be back", 30)
    stage.wait_event("found", "ExportRestored")
    assert target.client.get_export(name) == before
    volume = target.client.get_volume(name)
    assert volume is not None
    assert volume.trashed_at is None


def test_a_volume_in_the_trash_is_taken_out_for_its_claim(stage: Stage, target: TargetProcess) -> None:
    """Begun and trashed before; the claim waits for its consumer, so that there is time to do that to it here."""
    stage.claim(
        "twice", storageClassName=stage.make_class(f"{stage.id}-twice", volumeBindingMode="WaitForFirstConsumer")
    )
    claim = stage.get_claim("twice")
    assert claim is not None
    uid = claim["metadata"]["uid"]
    cluster = stage.kube.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    owner = requests.Owner(
        cluster=cluster, release=stage.config["release"], namespace=stage.namespace, claim="twice", claim_uid=uid
    )
    target.client.ensure_volume(f"pvc-{uid}", requests.VolumeSpec(size_bytes=8 * MIB, owner=owner))
    target.client.trash_volume(f"pvc-{uid}")
    stage.patch_claim("twice", {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}})
    assert stage.bound("twice")["metadata"]["name"] == f"pvc-{uid}"
    assert target.client.get_export(f"pvc-{uid}")


def test_rotation(stage: Stage, target: TargetProcess) -> None:
    stage.claim("rotated")
    pv = stage.bound("rotated")
    before = password(stage.secret(pv))
    stage.patch_claim("rotated", {"metadata": {"annotations": {"lundock.io/rotate-chap": "2026-11"}}})
    stage.wait_event("rotated", "CHAPRotated")
    assert password(stage.secret(pv)) != before


def test_metrics_under_the_known_names(stage: Stage) -> None:
    stage.claim("counted")
    stage.bound("counted")
    text = stage.metrics()
    for name in (
        "controller_persistentvolumeclaim_provision_total",
        "controller_persistentvolumeclaim_provision_failed_total",
        "controller_persistentvolumeclaim_provision_duration_seconds_bucket",
        "controller_persistentvolume_delete_total",
        "controller_persistentvolume_delete_duration_seconds_count",
    ):
        assert f'{name}{{class="' in text, name
