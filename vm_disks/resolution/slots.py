"""Which bus and device name each disk gets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from string import ascii_lowercase

from vm_disks.model import Bus, ClaimSource, DiskSpec


def default_bus(disk: DiskSpec) -> Bus:
    """KubeVirt's sata, unless that can't work: libvirt wants a lun on scsi and no read-only disk on sata, QEMU no
    blocks of more than 512 bytes there.

    A hotpluggable volume is on scsi, as in KubeVirt; what only virtio has (an I/O thread, a PCI address) makes it so,
    and a rotation rate, which virtio has not, makes it scsi instead.
    """
    if disk.device == "lun" or (isinstance(disk.source, ClaimSource) and disk.source.hotpluggable):
        return "scsi"
    large_blocks = disk.block_size is not None and disk.block_size.logical != 512
    if disk.device == "cdrom" or not (disk.read_only or disk.dedicated_io_thread or disk.pci_address or large_blocks):
        return "sata"
    return "scsi" if disk.rotation_rate else "virtio"


def device_name(prefix: str, index: int) -> str:
    """The name of the index-th device, from 0: vda, …, vdz, vdaa, …"""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = ascii_lowercase[letter] + letters
    return prefix + letters


def targets(disks: Sequence[tuple[DiskSpec, Bus]]) -> list[str]:
    """A device name each: the one the spec asks for, else the first free one of its kind, in this order.

    sata, scsi and usb share sd?, as in KubeVirt.
    """
    taken = {disk.target for disk, _ in disks if disk.target}
    names: list[str] = []
    for disk, bus in disks:
        prefix = "vd" if bus == "virtio" else "sd"
        name = disk.target or next(name for name in (device_name(prefix, i) for i in count()) if name not in taken)
        taken.add(name)
        names.append(name)
    return names
