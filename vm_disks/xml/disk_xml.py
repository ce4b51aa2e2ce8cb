"""A resolved disk as libvirt's <disk> (https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms). Pure."""

from __future__ import annotations

from collections.abc import Callable

from vm_disks.errors import DomainError
from vm_disks.model import CloudInitSource, Disk, EmptyDiskSource, NoMedium
from vm_disks.resolution.address import ChapReference, LunAddress
from vm_disks.xml import markup
from vm_disks.xml.markup import Field, Value


def alias(name: str) -> str:
    """A user alias: libvirt keeps it, and KubeVirt's hook knows the disk by it."""
    return f"ua-{name}"


def _lun(path: str, here: Callable[[Disk], bool]) -> list[Field[Disk]]:
    """A LUN's <source>, as the disk's own or as that of its backing store."""

    def of(value: Callable[[LunAddress], Value]) -> Callable[[Disk], Value]:
        return lambda disk: value(disk.address) if disk.address and here(disk) else None

    def chap(value: Callable[[ChapReference], Value]) -> Callable[[Disk], Value]:
        return of(lambda address: value(address.chap) if address.chap else None)

    def usage(disk: Disk) -> Value:
        return disk.secret_usage if here(disk) and disk.address and disk.address.chap else None

    return [
        Field(f"{path}/@protocol", of(lambda _: "iscsi")),
        Field(f"{path}/@name", of(lambda address: f"{address.iqn}/{address.lun}")),
        Field(f"{path}/host/@name", of(lambda address: address.portals[0].host)),
        Field(f"{path}/host/@port", of(lambda address: address.portals[0].port)),
        Field(f"{path}/auth/@username", chap(lambda reference: reference.username)),
        Field(f"{path}/auth/secret/@type", chap(lambda _: "iscsi")),
        Field(f"{path}/auth/secret/@usage", usage),
        Field(f"{path}/initiator/iqn/@name", of(lambda address: address.initiator_name)),
    ]


def is_lun(disk: Disk) -> bool:
    """Whether QEMU writes to the LUN itself, and not to a file or nothing."""
    return disk.address is not None and disk.file is None


def _is_overlay(disk: Disk) -> bool:
    return disk.address is not None and disk.file is not None


def _is_qcow2(disk: Disk) -> bool:
    return _is_overlay(disk) or isinstance(disk.spec.source, EmptyDiskSource)


def _cache(disk: Disk) -> str | None:
    """KubeVirt's default, none, for a LUN, and what goes with none only. A seed ISO stays with QEMU's default."""
    if disk.spec.cache:
        return disk.spec.cache
    needs_none = disk.spec.shareable or disk.spec.io == "native"
    return "none" if needs_none or (disk.address and disk.spec.device != "cdrom") else None


def _block_size(name: str) -> Callable[[Disk], Value]:
    return lambda disk: getattr(disk.spec.block_size, name) if disk.spec.block_size else None


def virtio(transitional: bool) -> str:
    """libvirt's model of a virtio device; KubeVirt's is non-transitional unless the spec asks."""
    return "virtio-transitional" if transitional else "virtio-non-transitional"


def _virtio_model(disk: Disk) -> str | None:
    return virtio(disk.virtio_transitional) if disk.bus == "virtio" else None


def _pci(part: Callable[[str], str]) -> Callable[[Disk], Value]:
    return lambda disk: part(disk.spec.pci_address) if disk.spec.pci_address else None


FIELDS: tuple[Field[Disk], ...] = (
    Field("@type", lambda disk: "network" if is_lun(disk) else "file"),
    Field("@device", lambda disk: disk.spec.device),
    Field("@model", _virtio_model),
    Field("driver/@name", lambda _: "qemu"),
    Field("driver/@type", lambda disk: "qcow2" if _is_qcow2(disk) else "raw"),
    Field("driver/@cache", _cache),
    Field("driver/@error_policy", lambda disk: disk.spec.error_policy or "stop"),
    Field("driver/@io", lambda disk: disk.spec.io),
    Field("driver/@discard", lambda disk: "unmap" if disk.spec.device != "cdrom" else None),
    Field("driver/@iothread", lambda disk: disk.io_thread),
    Field("driver/@queues", lambda disk: disk.queues if disk.bus == "virtio" else None),
    *_lun("source", is_lun),
    Field("source/@file", lambda disk: disk.file),
    Field("backingStore/@type", lambda disk: "network" if _is_overlay(disk) else None),
    Field("backingStore/format/@type", lambda disk: "raw" if _is_overlay(disk) else None),
    *_lun("backingStore/source", _is_overlay),
    Field("target/@dev", lambda disk: disk.target),
    Field("target/@bus", lambda disk: disk.bus),
    Field("target/@rotation_rate", lambda disk: disk.spec.rotation_rate),
    Field("target/@tray", lambda disk: "open" if disk.spec.tray == "open" else None),
    Field("blockio/@logical_block_size", _block_size("logical")),
    Field("blockio/@physical_block_size", _block_size("physical")),
    Field("readonly", lambda disk: disk.read_only),
    Field("shareable", lambda disk: disk.spec.shareable),
    Field("serial", lambda disk: disk.spec.serial),
    Field("boot/@order", lambda disk: disk.spec.boot_order),
    Field("alias/@name", lambda disk: alias(disk.spec.name)),
    Field("address/@type", lambda disk: "drive" if disk.bus == "scsi" else "pci" if disk.spec.pci_address else None),
    Field("address/@controller", lambda disk: 0 if disk.bus == "scsi" else None),
    Field("address/@bus", lambda disk: 0 if disk.bus == "scsi" else None),
    Field("address/@unit", lambda disk: disk.unit if disk.bus == "scsi" else None),
    Field("address/@domain", _pci(lambda address: f"0x{address[:4]}")),
    Field("address/@bus", _pci(lambda address: f"0x{address[5:7]}")),
    Field("address/@slot", _pci(lambda address: f"0x{address[8:10]}")),
    Field("address/@function", _pci(lambda address: f"0x{address[11]}")),
)


def element(disk: Disk) -> markup.Element:
    """The <disk>.

    Raises:
        DomainError: the disk's file is not made, or a text of it has what XML can't carry.
    """
    if needs_file(disk) and not disk.file:
        raise DomainError(f"{disk.spec.path}: disk {disk.spec.name!r} is a local file that the runtime has not made.")
    return markup.build("disk", FIELDS, disk)


def needs_file(disk: Disk) -> bool:
    """Whether the runtime makes a file for it: a seed ISO, a scratch disk or an overlay."""
    source = disk.spec.source
    if isinstance(source, (CloudInitSource, EmptyDiskSource)):
        return True
    return not isinstance(source, NoMedium) and source.overlay


def render(disk: Disk) -> str:
    """The <disk> element, the same bytes for the same disk.

    Raises:
        DomainError: the disk's file is not made, or a text of it has what XML can't carry.
    """
    return markup.text(element(disk))
