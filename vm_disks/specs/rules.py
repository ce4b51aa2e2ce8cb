"""What a disk can't be: what KubeVirt rejects, or libvirt's driver refuses, or libvirt takes and gets wrong.

Used twice: on what the spec says, and again once the claim's PV made a disk read-only and its bus is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from vm_disks.model import BlockSize, Bus, ClaimSource, DiskSpec, NoMedium

BUSES_OF: dict[str, tuple[str, ...]] = {"disk": get_args(Bus), "lun": ("scsi",), "cdrom": ("sata", "scsi", "usb")}
WHY_NOT = {
    "disk": "a disk can be on virtio, sata, scsi or usb",
    "lun": "libvirt passes a LUN over iSCSI through on scsi only",
    "cdrom": "a CD-ROM can be on sata, scsi or usb",
}
BLOCK_SIZES_BYTES = (512, 2 * 1024 * 1024)


def violations(disk: DiskSpec) -> Iterator[tuple[str, str]]:
    """The DiskSpec's field that is at fault, and why."""
    yield from _of_bus(disk)
    if disk.device == "lun" and disk.serial:
        yield "serial", "a lun shows the serial of the LUN itself; leave it out"
    if disk.device != "disk" and disk.shareable:
        yield "shareable", f"only a disk can be shareable, not a {disk.device}"
    if disk.shareable and not isinstance(disk.source, NoMedium) and not _is_lun(disk):
        yield "shareable", "only a claim's own LUN can be shareable, not a file of QEMU's"
    if disk.shareable and disk.cache not in (None, "none"):
        yield "cache", f"{disk.cache!r}: a shareable disk has cache none"
    if disk.io == "native" and disk.cache not in (None, "none"):
        yield "io", f"'native' needs cache none, not {disk.cache}"
    if disk.block_size:
        yield from _of_block_size(disk, disk.block_size)
    if disk.device == "lun" and not (isinstance(disk.source, NoMedium) or _is_lun(disk)):
        yield "device", "only a claim's own LUN can be a lun, not a file of QEMU's; make it a disk"


def _of_bus(disk: DiskSpec) -> Iterator[tuple[str, str]]:
    bus, device = disk.bus, disk.device
    if bus and bus not in BUSES_OF[device]:
        yield "bus", f"{bus!r}: {WHY_NOT[device]}"
    elif device == "disk" and bus == "sata" and disk.read_only:
        yield "bus", "'sata': a read-only disk can't be on sata; use virtio or scsi, or make it a cdrom"
    elif bus in ("sata", "usb") and isinstance(disk.source, ClaimSource) and disk.source.hotpluggable:
        yield "bus", f"{bus!r}: a hotpluggable volume is on scsi or virtio"
    virtio = device == "disk" and bus in (None, "virtio")
    if disk.dedicated_io_thread and not virtio:
        yield "dedicated_io_thread", f"only a virtio disk has an I/O thread, not {bus or device}"
    if disk.pci_address and not virtio:
        yield "pci_address", f"only a virtio disk has a PCI address, not {bus or device}"
    if disk.rotation_rate and bus not in (None, "sata", "scsi"):
        yield "rotation_rate", f"only a sata or scsi disk has a rotation rate, not {bus}"
    if disk.rotation_rate and 1 < disk.rotation_rate < 1025:
        yield "rotation_rate", f"{disk.rotation_rate} is neither 1 (an SSD) nor 1025 to 65534"
    if disk.target and bus and disk.target[:2] != ("vd" if bus == "virtio" else "sd"):
        yield "target", f"{disk.target!r} is not a device name of bus {bus}"


def _of_block_size(disk: DiskSpec, size: BlockSize) -> Iterator[tuple[str, str]]:
    if disk.device == "lun":
        yield "block_size", "a lun shows the block sizes of the LUN itself; leave it out"
    elif disk.bus == "sata" and size.logical not in (None, 512):
        yield "block_size.logical", f"on sata QEMU has blocks of 512 bytes, not {size.logical}; use scsi or virtio"
    for name, value in (("logical", size.logical), ("physical", size.physical)):
        if value is not None and value & (value - 1):
            yield f"block_size.{name}", f"{value} is not a power of two"
    if size.logical and size.physical and size.logical > size.physical:
        yield "block_size.logical", f"{size.logical} is larger than the physical size, {size.physical}"


def _is_lun(disk: DiskSpec) -> bool:
    return isinstance(disk.source, ClaimSource) and not disk.source.overlay
