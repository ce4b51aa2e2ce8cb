"""devices.disks joined with volumes: one DiskSpec each, or a fault that says where and why."""

from __future__ import annotations

from collections import Counter
from typing import cast

from vm_disks.model import BlockSize, Bus, ClaimSource, DeviceType, DiskSpec, NoMedium, Source
from vm_disks.specs import volumes
from vm_disks.specs.node import Node
from vm_disks.specs.rules import BLOCK_SIZES_BYTES, violations
from vm_disks.specs.volumes import LABEL, LABEL_RULE

DEVICES = ("disk", "lun", "cdrom")
CACHES = ("none", "writethrough", "writeback")
IO_MODES = ("native", "threads")
ERROR_POLICIES = ("stop", "ignore", "report", "enospace")

SERIAL = r"[A-Za-z0-9_.+-]{1,256}"
SERIAL_RULE = "is not 1 to 256 letters, digits or any of _.+-"
TARGET = r"(vd|sd)[a-z]{1,3}"
TARGET_RULE = "is not a device name that a LUN can have (vda, sda, …)"
PCI_ADDRESS = r"(?i)0000:00:(0[3-9a-f]|1[0-9a-e])\.0"
PCI_ADDRESS_RULE = "is not from 0000:00:03.0 to 0000:00:1e.0, the slots that q35 and pc have free"

Sources = dict[str, tuple[Node, Source | None]]


def read(spec: Node, *, legacy: bool) -> tuple[DiskSpec, ...]:
    """Disks in spec order, then one for each volume that no disk names, as KubeVirt adds them."""
    sources = volumes.read(spec["volumes"])
    used: Counter[str] = Counter()
    names: Counter[str] = Counter()
    disks: list[DiskSpec | None] = []
    for node in spec["domain.devices.disks"].items():
        name = node["name"].required(LABEL, LABEL_RULE)
        names[name] += 1
        if name and names[name] > 1:
            node["name"].fault(f"another disk is named {name!r}")
        volume = (node["volumeName"].text() if legacy else None) or name
        used[volume] += 1
        if volume in sources and used[volume] > 1:
            node.fault(f"another disk already has the volume {volume!r}")
        disks.append(_disk(node, name, volume, sources, legacy=legacy))
    places = Counter(disk.pci_address for disk in disks if disk and disk.pci_address)
    targets = Counter(disk.target for disk in disks if disk and disk.target)
    for disk, node in zip(disks, spec["domain.devices.disks"].items(), strict=True):
        if disk and disk.pci_address and places[disk.pci_address] > 1:
            node["disk.pciAddress"].fault(f"{disk.pci_address} is used twice")
        if disk and disk.target and targets[disk.target] > 1:
            node[disk.device]["dev"].fault(f"{disk.target} is used twice")
    for name, (node, source) in sources.items():
        if not used[name] and source is not None:
            disks.append(DiskSpec(name, node.path, source, read_only=is_read_only(source)))
    return tuple(disk for disk in disks if disk)


def _disk(node: Node, name: str, volume: str, sources: Sources, *, legacy: bool) -> DiskSpec | None:
    """None for a disk whose volume is not supported or faulty, which is reported."""
    given = [kind for kind in DEVICES if node[kind]]
    if len(given) > 1:
        node.fault(f"has {' and '.join(given)}; a disk is one of them")
    device = cast(DeviceType, given[0] if given else "disk")
    if device == "cdrom" and node["cdrom.readonly"].value is False:
        node["cdrom.readonly"].fault("a CD-ROM is read-only")
    found = _source(node, volume, sources, device)
    source = found or NoMedium()
    target = node[device]["dev"].text(TARGET, TARGET_RULE) if legacy else None
    disk = DiskSpec(
        name=name,
        path=node.path,
        source=source,
        device=device,
        bus=cast("Bus | None", node[device]["bus"].text() or infer_bus(target)),
        read_only=device == "cdrom" or node[device]["readonly"].flag() or is_read_only(source),
        tray="open" if node["cdrom.tray"].choice(("open", "closed")) == "open" else "closed",
        target=target,
        boot_order=node["bootOrder"].number(1),
        serial=node["serial"].text(SERIAL, SERIAL_RULE),
        dedicated_io_thread=node["dedicatedIOThread"].flag(),
        cache=node["cache"].choice(CACHES),  # type: ignore[arg-type]
        io=node["io"].choice(IO_MODES),  # type: ignore[arg-type]
        block_size=_block_size(node["blockSize.custom"]),
        shareable=node["shareable"].flag(),
        error_policy=node["errorPolicy"].choice(ERROR_POLICIES),  # type: ignore[arg-type]
        rotation_rate=node[device]["rotationRate"].number(1, 65534),
        pci_address=node[device]["pciAddress"].text(PCI_ADDRESS, PCI_ADDRESS_RULE),
    )
    fields = {
        "bus": f"{device}.bus",
        "device": device,
        "target": f"{device}.dev",
        "pci_address": f"{device}.pciAddress",
        "rotation_rate": f"{device}.rotationRate",
        "dedicated_io_thread": "dedicatedIOThread",
        "block_size": "blockSize",
        "block_size.logical": "blockSize.custom.logical",
        "block_size.physical": "blockSize.custom.physical",
    }
    for field, reason in violations(disk):
        node[fields.get(field, field)].fault(reason)
    return disk if found else None


def _source(node: Node, volume: str, sources: Sources, device: DeviceType) -> Source | None:
    if volume in sources:
        return sources[volume][1]
    if device == "cdrom":
        return NoMedium()
    if volume:
        known = f"; there are {', '.join(sorted(sources))}" if sources else ""
        node["volumeName" if node["volumeName"] else "name"].fault(f"no volume is named {volume!r}{known}")
    return None


def _block_size(node: Node) -> BlockSize | None:
    if not node:
        return None
    for name in ("logical", "physical"):
        if not node[name]:
            node[name].fault("is missing")
    return BlockSize(
        node["logical"].number(*BLOCK_SIZES_BYTES),
        node["physical"].number(*BLOCK_SIZES_BYTES),
    )


def infer_bus(target: str | None) -> str | None:
    """The bus that libvirt infers from a device name when none is said."""
    return {"vd": "virtio", "sd": "scsi"}.get(target[:2]) if target else None


def is_read_only(source: Source) -> bool:
    """Whether the volume makes its disk read-only; what is written to an overlay never reaches the claim."""
    return isinstance(source, ClaimSource) and source.read_only and not source.overlay
