"""The golden cases: a VM spec each in golden/*.yaml, with the claims in golden/claims.yaml, and the domain it gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from vm_disks import documents, resolve, specs
from vm_disks.model import Disk, VmSpec
from vm_disks.resolution.lookup import FromManifests
from vm_disks.xml import disk_xml, domain_xml
from vm_disks.xml.domain_xml import DomainOptions

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(file.stem for file in GOLDEN.glob("*.yaml") if file.stem != "claims")
EMULATED = DomainOptions(type="qemu")
OPTIONS = {
    "kvm": DomainOptions(type="kvm", network="bridge:br0", console_log="/var/log/kvm.log"),
    "machine": DomainOptions(type="kvm"),
    "v1alpha2": DomainOptions(type="qemu", vnc=False, network="none"),
}
PARAMETERS = {"template": {"NAME": "from-template"}}


def load(case: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The VM's document, and all documents."""
    found = documents.load([str(GOLDEN / f"{case}.yaml"), str(GOLDEN / "claims.yaml")], PARAMETERS.get(case))
    return next(document for document in found if specs.is_vm(document)), found


def read(case: str) -> tuple[VmSpec, list[Disk]]:
    """The VM and its disks, with the files as the runtime would name them."""
    document, found = load(case)
    vm = specs.read(document)
    disks = resolve(vm, FromManifests(found))
    return vm, [with_file(disk) for disk in disks]


def with_file(disk: Disk) -> Disk:
    made = disk_xml.needs_file(disk)
    return dataclasses.replace(disk, file=f"/var/lib/vm-disks/{disk.spec.name}") if made else disk


def render(case: str, options: DomainOptions | None = None) -> str:
    vm, disks = read(case)
    return domain_xml.render(vm, disks, options or OPTIONS.get(case, EMULATED))
