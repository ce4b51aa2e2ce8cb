"""Readers of VM specs, one file per VM API, in a table by apiVersion and kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from vm_disks.errors import Faults, SpecError, Unsupported, VmDisksError
from vm_disks.model import ClaimSource, DiskSpec, VmSpec
from vm_disks.specs import claim_form, kubevirt
from vm_disks.specs.node import Node
from vm_disks.specs.volumes import LABEL, LABEL_RULE

Reader = Callable[[Node, Node, str], VmSpec]
"""metadata, spec of the instance, namespace -> the VM."""


def _legacy(metadata: Node, spec: Node, namespace: str) -> VmSpec:
    return kubevirt.read(metadata, spec, namespace, legacy=True)


def _v1alpha1(metadata: Node, spec: Node, namespace: str) -> VmSpec:
    reader = claim_form.read if claim_form.is_claim_form(spec) else _legacy
    return reader(metadata, spec, namespace)


_TEMPLATE = "spec.template.spec"
READERS: dict[tuple[str, str], tuple[str, Reader]] = {
    ("kubevirt.io/v1alpha1", "VM"): ("spec", _v1alpha1),
    ("kubevirt.io/v1alpha1", "VirtualMachine"): ("spec", _v1alpha1),
    ("kubevirt.io/v1alpha1", "OfflineVirtualMachine"): (_TEMPLATE, _legacy),
    ("kubevirt.io/v1alpha1", "VirtualMachineReplicaSet"): (_TEMPLATE, _legacy),
    ("kubevirt.io/v1alpha2", "VirtualMachineInstance"): ("spec", _legacy),
    ("kubevirt.io/v1alpha2", "VirtualMachine"): (_TEMPLATE, _legacy),
    ("kubevirt.io/v1alpha2", "VirtualMachineInstanceReplicaSet"): (_TEMPLATE, _legacy),
    **{
        (f"kubevirt.io/{version}", kind): (path, kubevirt.read)
        for version in ("v1alpha3", "v1")
        for kind, path in {
            "VirtualMachine": _TEMPLATE,
            "VirtualMachineInstance": "spec",
            "VirtualMachineInstanceReplicaSet": _TEMPLATE,
        }.items()
    },
    **{
        (f"pool.kubevirt.io/{version}", "VirtualMachinePool"): (
            "spec.virtualMachineTemplate.spec.template.spec",
            kubevirt.read,
        )
        for version in ("v1alpha1", "v1beta1")
    },
}


_IN_VM = ".template.spec"

BESIDE = {
    "spec.instancetype": "not read; cpu and memory are the domain's own, or else 1 vCPU and 512 MiB",
    "spec.preference": "not read; its defaults don't apply",
}
"""Fields beside the template that would change the VM."""


def is_vm(document: Mapping[str, Any]) -> bool:
    """Whether a reader knows this document's apiVersion and kind."""
    return _key(document) in READERS


def read(document: Mapping[str, Any], *, namespace: str = "default", skip_unsupported: bool = False) -> VmSpec:
    """The VM that a document describes.

    Args:
        document: the Kubernetes object.
        namespace: for a document that names none.
        skip_unsupported: leave out what can't work here, and name it in `VmSpec.ignored`, instead of refusing it.

    Raises:
        Faults: names everything that is wrong.
    """
    kind = f"{document.get('kind')} of {document.get('apiVersion')}"
    if not is_vm(document):
        known = ", ".join(sorted({f"{kind} ({version})" for version, kind in READERS}))
        raise Faults(kind, [SpecError("kind", f"is not a VM that can be read; those are: {known}")])
    path, reader = READERS[_key(document)]
    faults: list[VmDisksError] = []
    root = Node(dict(document), "", faults)
    if not root[path]:
        root[path].fault("is missing")
    Node(namespace, "namespace (-n)", faults).required(LABEL, LABEL_RULE)
    vm = reader(root["metadata"], root[path], namespace)
    templates = root[path.removesuffix(_IN_VM)]["dataVolumeTemplates"]
    vm = dataclasses.replace(vm, disks=tuple(_with_template(disk, templates) for disk in vm.disks))
    beside = [f"{root[place].path}: {reason}" for place, reason in BESIDE.items() if root[place]]
    skipped = [fault for fault in faults if skip_unsupported and isinstance(fault, Unsupported)]
    fatal = [fault for fault in faults if fault not in skipped]
    if fatal:
        raise Faults(f"{document.get('kind')} {vm.namespace}/{vm.name}", fatal)
    return dataclasses.replace(vm, ignored=(*beside, *vm.ignored, *(f"{fault} (left out)" for fault in skipped)))


def _with_template(disk: DiskSpec, templates: Node) -> DiskSpec:
    """The disk, whose claim may be one that KubeVirt makes of one of the VM's dataVolumeTemplates."""
    if isinstance(disk.source, ClaimSource):
        for template in templates.items():
            if template["metadata.name"].value == disk.source.claim:
                return dataclasses.replace(disk, source=dataclasses.replace(disk.source, template=template.path))
    return disk


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return str(document.get("apiVersion")), str(document.get("kind"))
