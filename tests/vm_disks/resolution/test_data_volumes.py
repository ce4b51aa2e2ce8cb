"""A DataVolume, and a VM's template of one, is the claim that CDI would make of it."""

from __future__ import annotations

from typing import Any

import pytest

from vm_disks import resolve, specs
from vm_disks.errors import ClaimMissing, Faults
from vm_disks.resolution.lookup import FromManifests

VOLUME: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "pv"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "2Gi"},
        "iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:a", "lun": 1},
    },
}
REQUEST = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def vm(volume: dict[str, Any], **spec: Any) -> dict[str, Any]:
    inner = {"domain": {"devices": {}}, "volumes": [{"name": "root", **volume}]}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm", "namespace": "vms"},
        "spec": {**spec, "template": {"spec": inner}},
    }


def data_volume(source: str = "pvc") -> dict[str, Any]:
    return {"metadata": {"name": "root-disk"}, "spec": {"source": {"blank": {}}, source: REQUEST}}


def pv_of(*documents: dict[str, Any]) -> str | None:
    (disk,) = resolve(specs.read(documents[0]), FromManifests(documents, "other"))
    return disk.volume


@pytest.mark.parametrize(
    "volume", [{"dataVolume": {"name": "root-disk"}}, {"persistentVolumeClaim": {"claimName": "root-disk"}}]
)
@pytest.mark.parametrize("source", ["pvc", "storage"])
def test_a_template_is_bound_as_its_claim_would_be(volume: dict[str, Any], source: str) -> None:
    assert pv_of(vm(volume, dataVolumeTemplates=[data_volume(source)]), VOLUME) == "pv"


def test_so_is_a_pools_template_and_a_data_volume_by_itself() -> None:
    plain = vm({"dataVolume": {"name": "root-disk"}})
    whole = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", **data_volume()}
    whole["metadata"] = {"name": "root-disk", "namespace": "vms"}
    assert pv_of(plain, whole, VOLUME) == "pv"
    pool = {
        "apiVersion": "pool.kubevirt.io/v1beta1",
        "kind": "VirtualMachinePool",
        "metadata": plain["metadata"],
        "spec": {"virtualMachineTemplate": {"spec": {**plain["spec"], "dataVolumeTemplates": [data_volume()]}}},
    }
    assert pv_of(pool, VOLUME) == "pv"


def test_a_claim_of_that_name_comes_first() -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "root-disk", "namespace": "vms"},
        "spec": {**REQUEST, "volumeName": "mine"},
    }
    mine = {**VOLUME, "metadata": {"name": "mine"}}
    spec = vm({"dataVolume": {"name": "root-disk"}}, dataVolumeTemplates=[data_volume()])
    assert pv_of(spec, claim, VOLUME, mine) == "mine"


def test_where_nobody_made_the_claim_the_error_names_the_template() -> None:
    spec = vm({"dataVolume": {"name": "root-disk"}}, dataVolumeTemplates=[{"metadata": {}}, data_volume()])
    with pytest.raises(
        Faults, match=r"KubeVirt would make it of spec\.dataVolumeTemplates\[1\]; without it"
    ) as refused:
        resolve(specs.read(spec), FromManifests([]))
    assert isinstance(refused.value.errors[0], ClaimMissing)
