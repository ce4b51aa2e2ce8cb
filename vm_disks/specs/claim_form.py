"""KubeVirt's first form (v0.0.x and v0.1, 2017): the claim is named in the disk itself.

spec.domain.devices.disks[]: {type: PersistentVolumeClaim, device: disk, source: {name: CLAIM}, target: {dev: vda}}
"""

from __future__ import annotations

from collections import Counter
from typing import cast

from vm_disks.model import Bus, ClaimSource, DeviceType, DiskSpec, VmSpec
from vm_disks.specs import disks
from vm_disks.specs.kubevirt import DEFAULT_MEMORY_BYTES
from vm_disks.specs.node import Node
from vm_disks.specs.rules import violations
from vm_disks.specs.volumes import LABEL, LABEL_RULE, NAME, NAME_RULE

UNITS_BYTES = {"b": 1, "bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS_BYTES |= {unit: 2**power for unit, power in {"k": 10, "M": 20, "G": 30, "T": 40}.items()}
UNITS_BYTES |= {unit: 2**power for unit, power in {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}.items()}
"""libvirt's units of <memory>, which this form had; KiB when none is said."""

KNOWN = ("type", "device", "source", "target", "driver", "serial", "readonly", "boot", "snapshot")


def is_claim_form(spec: Node) -> bool:
    """Whether the disks name their claims: a disk of this form has a type, no later one does."""
    listed = spec["domain.devices.disks"].value
    return isinstance(listed, list) and any(isinstance(disk, dict) and "type" in disk for disk in listed)


def read(metadata: Node, spec: Node, namespace: str) -> VmSpec:
    """The VM; what is wrong goes to the nodes' faults."""
    domain = spec["domain"]
    read_disks = [_disk(node) for node in domain["devices.disks"].items()]
    _check_unique(domain)
    return VmSpec(
        name=metadata["name"].required(NAME, NAME_RULE),
        namespace=metadata["namespace"].text(LABEL, LABEL_RULE) or namespace,
        uid=metadata["uid"].text(),
        disks=tuple(disk for disk in read_disks if disk),
        memory_bytes=_memory(domain["memory"]),
    )


def _disk(node: Node) -> DiskSpec | None:
    for name in node.mapping():
        if name not in KNOWN:
            node[str(name)].fault("no such field")
    kind = node["type"].required()
    if kind != "PersistentVolumeClaim":
        if kind:
            node["type"].unsupported(f"not supported: {kind!r}; only PersistentVolumeClaim is a claim")
        return None
    device = cast(DeviceType, node["device"].choice(disks.DEVICES) or "disk")
    target = node["target.dev"].text(disks.TARGET, disks.TARGET_RULE)
    disk = DiskSpec(
        name=target or f"disk{node.path[node.path.rindex('[') + 1 : -1]}",
        path=node.path,
        source=ClaimSource(node["source.name"].required(NAME, NAME_RULE)),
        device=device,
        bus=cast("Bus | None", node["target.bus"].text() or disks.infer_bus(target)),
        target=target,
        read_only=device == "cdrom" or _present(node["readonly"]),
        boot_order=node["boot.order"].number(1),
        serial=node["serial"].text(disks.SERIAL, disks.SERIAL_RULE),
        cache=node["driver.cache"].choice(disks.CACHES),  # type: ignore[arg-type]
        io=node["driver.io"].choice(disks.IO_MODES),  # type: ignore[arg-type]
        error_policy=node["driver.errorPolicy"].choice(disks.ERROR_POLICIES),  # type: ignore[arg-type]
    )
    places = {"bus": "target.bus", "target": "target.dev", "cache": "driver.cache", "io": "driver.io"}
    for field, reason in violations(disk):
        node[places.get(field, field)].fault(reason)
    return disk


def _present(node: Node) -> bool:
    """`readonly` was an empty element, as in libvirt's XML: {} means yes."""
    return node.value is not None and node.value is not False


def _memory(node: Node) -> int:
    value = node["value"].number(1)
    unit = node["unit"].choice(tuple(UNITS_BYTES)) or "KiB"
    return value * UNITS_BYTES[unit] if value else DEFAULT_MEMORY_BYTES


def _check_unique(domain: Node) -> None:
    seen: Counter[str] = Counter()
    for node in domain["devices.disks"].items():
        for field in ("target.dev", "boot.order"):
            place = node[field]
            key = f"{field} {place.value}"
            seen[key] += 1
            if place and seen[key] > 1:
                place.fault(f"{place.value!r} is used twice")
