"""The manifests: valid for the API, consistent with each other, unprivileged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
FILES = sorted(MANIFESTS.glob("*.yaml"))
DEMO_LUNS = {"disk-custom": 1, "disk-alpine": 2, "disk-cirros": 3, "disk-demo": 4}


def documents(name: str) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((MANIFESTS / name).read_text(encoding="utf-8")) if d]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [d for d in documents(name) if d["kind"] == kind]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_is_valid_for_the_api(file: Path) -> None:
    for document in documents(file.name):
        if not document["apiVersion"].startswith("kubevirt.io/"):
            kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_pods_are_in_the_restricted_standard(file: Path) -> None:
    for pod in of_kind(file.name, "Pod"):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(volume.keys() & {"hostPath"} for volume in spec["volumes"])
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_each_claim_of_the_2017_demo_selects_the_volume_of_its_lun() -> None:
    name = "iscsi-demo-target-tgtd.yaml"
    volumes = of_kind(name, "PersistentVolume")
    (service,) = of_kind(name, "Service")
    for claim in of_kind(name, "PersistentVolumeClaim"):
        wanted = claim["spec"]["selector"]["matchLabels"].items()
        (volume,) = [v for v in volumes if wanted <= v["metadata"]["labels"].items()]
        iscsi = volume["spec"]["iscsi"]
        assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"] == ""
        assert iscsi["lun"] == DEMO_LUNS[claim["metadata"]["name"]]
        assert iscsi["iqn"] == "iqn.2017-01.io.kubevirt:sn.42"
        assert iscsi["targetPortal"].startswith(f"{service['metadata']['name']}.default.svc.")
    assert {c["metadata"]["name"] for c in of_kind(name, "PersistentVolumeClaim")} == set(DEMO_LUNS)


@pytest.mark.parametrize("name", ["iscsi-demo-target-tgtd.yaml", "iscsi-demo-target-chap.yaml"])
def test_the_service_selects_the_pod_and_its_ports(name: str) -> None:
    (service,), (pod,) = of_kind(name, "Service"), of_kind(name, "Pod")
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_the_chap_variant_asks_for_what_its_volume_names() -> None:
    name = "iscsi-demo-target-chap.yaml"
    (secret,), (volume,), (pod,) = (of_kind(name, kind) for kind in ("Secret", "PersistentVolume", "Pod"))
    assert secret["type"] == "kubernetes.io/iscsi-chap"
    assert volume["spec"]["iscsi"]["chapAuthSession"] is True
    assert volume["spec"]["iscsi"]["secretRef"]["name"] == secret["metadata"]["name"]
    environment = pod["spec"]["containers"][0]["env"]
    for variable in environment:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] in secret["stringData"]


def test_vms_name_claims_that_the_manifests_make() -> None:
    claims = {c["metadata"]["name"] for file in FILES for c in of_kind(file.name, "PersistentVolumeClaim")}
    for name in ("vm.yaml", "vm-disk-alpine.yaml"):
        (vm,) = documents(name)
        for volume in vm["spec"]["template"]["spec"]["volumes"]:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_the_pods_vm_is_the_vm() -> None:
    (configured,) = of_kind("vm-pod.yaml", "ConfigMap")
    assert yaml.safe_load(configured["data"]["vm.yaml"]) == documents("vm.yaml")[0]


def test_the_pods_rights_are_to_read_only_what_it_needs() -> None:
    (role,), (cluster_role,) = of_kind("vm-pod.yaml", "Role"), of_kind("vm-pod.yaml", "ClusterRole")
    writes = {"create", "update", "patch", "delete", "deletecollection", "watch", "*"}
    for rule in [*role["rules"], *cluster_role["rules"]]:
        if rule["resources"] != ["leases"]:
            assert not writes & set(rule["verbs"])
    assert [rule["resources"] for rule in cluster_role["rules"]] == [["persistentvolumes"]]
    (secrets,) = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert secrets["verbs"] == ["get"]
