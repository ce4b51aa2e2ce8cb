"""What a VM spec says about disks, whichever API it was written for (`specs/`), and what it resolves to.

Everything here is frozen and pure. `VmSpec` is what a spec reader gives; `Disk` is what the XML is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vm_disks.resolution.address import LunAddress

DeviceType = Literal["disk", "lun", "cdrom"]
Bus = Literal["virtio", "scsi", "sata", "usb"]


@dataclass(frozen=True)
class BlockSize:
    """Bytes, powers of two."""

    logical: int | None = None
    physical: int | None = None


@dataclass(frozen=True)
class DiskSpec:
    """One entry of devices.disks with the claim behind it. `path` is where it stands in the spec, for errors."""

    name: str
    path: str
    source: Source
    device: DeviceType = "disk"
    bus: Bus | None = None
    """None: not said; the default is chosen by `slots`."""
    read_only: bool = False
    tray: Literal["open", "closed"] = "closed"
    target: str | None = None
    """A device name that the spec itself asks for (the 2017 form only)."""
    boot_order: int | None = None
    serial: str | None = None
    dedicated_io_thread: bool = False
    cache: Literal["none", "writethrough", "writeback"] | None = None
    io: Literal["native", "threads"] | None = None
    block_size: BlockSize | None = None
    shareable: bool = False
    error_policy: Literal["stop", "ignore", "report", "enospace"] | None = None
    pci_address: str | None = None
    rotation_rate: int | None = None
    """Turns a minute; 1 is a disk that has none, an SSD (SBC-4 section 6.6.2)."""


@dataclass(frozen=True)
class ClaimSource:
    """A PersistentVolumeClaim in the VM's namespace. `overlay`: an ephemeral qcow2 layer over it."""

    claim: str
    read_only: bool = False
    hotpluggable: bool = False
    overlay: bool = False
    data_volume: bool = False
    """The claim is made for a DataVolume, by CDI."""
    template: str | None = None
    """Where in the spec the DataVolume of this name has a template, of which KubeVirt would make it."""


@dataclass(frozen=True)
class CloudInitSource:
    """A seed ISO with the files given; Secrets by name are read at start."""

    kind: Literal["NoCloud", "ConfigDrive"]
    user_data: bytes = field(default=b"", repr=False)
    """Any bytes: cloud-init takes text, and text that gzip packed."""
    network_data: bytes = field(default=b"", repr=False)
    user_data_secret: str | None = None
    network_data_secret: str | None = None


@dataclass(frozen=True)
class EmptyDiskSource:
    """A scratch qcow2 that lives as long as the VM."""

    capacity_bytes: int


@dataclass(frozen=True)
class InterfaceSpec:
    """A network interface; what it is connected to is the runtime's choice."""

    name: str
    model: str = "virtio"
    mac: str | None = None
    boot_order: int | None = None


@dataclass(frozen=True)
class NoMedium:
    """An empty CD-ROM drive."""


Source = ClaimSource | CloudInitSource | EmptyDiskSource | NoMedium


@dataclass(frozen=True)
class VmSpec:
    """A VM as far as a runtime needs it. Memory in bytes."""

    name: str
    namespace: str
    disks: tuple[DiskSpec, ...]
    uid: str | None = None
    interfaces: tuple[InterfaceSpec, ...] = (InterfaceSpec("default"),)
    firmware_uuid: str | None = None
    cpu_sockets: int = 1
    cpu_cores: int = 1
    cpu_threads: int = 1
    cpu_model: str | None = None
    memory_bytes: int = 512 * 1024 * 1024
    machine: str = "q35"
    firmware: Literal["bios", "efi"] = "bios"
    secure_boot: bool = False
    hostname: str | None = None
    """What cloud-init is told; the first label of the name when absent."""
    timezone: str | None = None
    """An IANA name that the clock follows; UTC when absent."""
    block_multi_queue: bool = False
    virtio_transitional: bool = False
    """virtio devices that old guests know too (useVirtioTransitional)."""
    serial_console: bool = True
    graphics: bool = True
    rng: bool = True
    ignored: tuple[str, ...] = ()
    """`path: reason` of what the spec asks for and a disk or domain can't show; worth a warning."""

    @property
    def cpus(self) -> int:
        return self.cpu_sockets * self.cpu_cores * self.cpu_threads


@dataclass(frozen=True)
class Disk:
    """A disk that is resolved: what it is for the guest, and where its bytes are."""

    spec: DiskSpec
    bus: Bus
    target: str
    """The device name (vda, sdb): libvirt's key for the disk, and a hint to the guest."""
    read_only: bool
    address: LunAddress | None = None
    """None for what is not a LUN (a seed ISO, a scratch disk, an empty tray)."""
    secret_usage: str | None = None
    """The libvirt secret with the CHAP password: the runtime defines it under this usage, the XML names it."""
    claim: str | None = None
    """The claim's name, and its PV's: for messages, leases and `list`."""
    volume: str | None = None
    queues: int | None = None
    """virtio queues, when the VM asks for blockMultiQueue."""
    io_thread: int | None = None
    """The number of this disk's own I/O thread, from 1."""
    unit: int | None = None
    """Its unit on the SCSI controller."""
    virtio_transitional: bool = False
    file: str | None = None
    """The local file of a seed ISO, scratch disk or overlay, once the runtime made it (dataclasses.replace)."""
