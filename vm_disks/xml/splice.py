"""A given domain with its disks replaced, and all else kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import cast, get_args

from vm_disks.errors import DomainError
from vm_disks.model import Bus, Disk, VmSpec
from vm_disks.resolution import slots
from vm_disks.specs.rules import violations
from vm_disks.xml import disk_xml, markup
from vm_disks.xml.markup import Element


def into(existing_xml: str, vm: VmSpec, disks: Sequence[Disk]) -> str:
    """A domain with these disks replaced (by alias, or else by target) or added.

    A disk that is known by its alias keeps its device name and address, as the guest knows it, where the bus
    allows.

    Args:
        existing_xml: the domain.
        vm: the spec that the disks are of.
        disks: as they shall be.

    Raises:
        DomainError: the XML is no libvirt domain, a disk's file is not made, or a text has what XML can't carry.
    """
    root = markup.parse(existing_xml)
    devices = root.find("devices")
    if root.tag != "domain" or devices is None:
        raise DomainError("The given XML is no libvirt domain: its root must be <domain>, with <devices>.")
    theirs = devices.findall("disk")
    by_alias = {disk.spec.name: _by(theirs, "alias", "name", disk_xml.alias(disk.spec.name)) for disk in disks}
    theirs = [old for old in theirs if old not in by_alias.values()]
    for disk in disks:
        known = by_alias[disk.spec.name]
        placed = disk if known is None else _in_place_of(known, disk)
        new = disk_xml.element(placed)
        if placed is not disk or disk.bus == "scsi":
            markup.remove(new, "address")  # libvirt finds one that is free in this domain
        if placed is not disk and known is not None:
            new.extend(known.findall("address"))
        old = known if known is not None else _by(theirs, "target", "dev", disk.target)
        if old is not None:
            markup.replace(devices, old, new)
        else:
            _rename(devices, new)
            markup.add(devices, new, after="disk")
        theirs = [other for other in theirs if other is not old]
    _complete(root, devices, vm, disks)
    return markup.text_as_is(root)


def _by(candidates: Sequence[Element], child: str, attribute: str, value: str) -> Element | None:
    return next((one for one in candidates if markup.get(one, child, attribute) == value), None)


def _in_place_of(old: Element, disk: Disk) -> Disk:
    """The disk with the device name and bus that the domain has for it; as it is where that can't work."""
    name, bus = markup.get(old, "target", "dev"), markup.get(old, "target", "bus")
    if name is None or bus not in get_args(Bus):
        return disk
    bus = cast(Bus, bus)
    if list(violations(replace(disk.spec, bus=bus, target=None))):
        return disk
    return replace(disk, bus=bus, target=name, queues=disk.queues if bus == "virtio" else None)


def _rename(devices: Element, new: Element) -> None:
    """The next free name, where another disk has kept this one."""
    taken = {markup.get(disk, "target", "dev") for disk in devices.findall("disk")}
    name = markup.get(new, "target", "dev")
    if name in taken:
        names = (slots.device_name(str(name)[:2], index) for index in count())
        markup.put(new, "target", "dev", next(free for free in names if free not in taken))


def _complete(root: Element, devices: Element, vm: VmSpec, disks: Sequence[Disk]) -> None:
    """What the disks need beside them: a virtio SCSI controller, I/O threads."""
    scsi = [one for one in devices.findall("controller") if one.get("type") == "scsi"]
    if any(disk.bus == "scsi" for disk in disks) and not scsi:
        controller = Element("controller", type="scsi", index="0", model=disk_xml.virtio(vm.virtio_transitional))
        markup.add(devices, controller, after="disk")
    threads = max((disk.io_thread or 0 for disk in disks), default=0)
    existing = root.find("iothreads")
    if threads and existing is None:
        element = Element("iothreads")
        element.text = str(threads)
        markup.add(root, element, after="vcpu")
    elif existing is not None and threads > _count(existing):
        existing.text = str(threads)


def _count(element: Element) -> int:
    try:
        return int(element.text or "0")
    except ValueError as error:
        raise DomainError(f"The domain's <{element.tag}> is {element.text!r}, not a number.") from error
