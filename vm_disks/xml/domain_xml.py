"""A bootable libvirt domain for a VM. Pure."""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vm_disks.errors import DomainError
from vm_disks.model import Disk, InterfaceSpec, VmSpec
from vm_disks.xml import disk_xml, markup
from vm_disks.xml.markup import Field
from vm_disks.xml.splice import into

__all__ = ["DomainOptions", "into", "name", "render", "uuid"]

UUID_NAMESPACE = uuids.UUID("1f7d2b64-93c1-5b0e-8a52-6d0f4c7e9a31")
"""Ours, made once: a VM's name in it gives its UUID."""


NETWORK = r"user|none|bridge:[A-Za-z0-9_.-]{1,15}"
"""A network device's name has 15 bytes at most (IFNAMSIZ)."""

SPARE_ROOT_PORTS = 4
"""libvirt leaves one; a port takes one hot-plugged virtio disk, or the SCSI controller of many others."""


@dataclass(frozen=True)
class DomainOptions:
    """What the machine decides, and the spec can't know."""

    type: Literal["kvm", "qemu"] = "kvm"
    network: str = "user"
    """"user" (QEMU's own NAT, needs no privilege), "none", or "bridge:NAME"."""
    console_log: str | None = None
    """A file to which the serial console is copied."""
    vnc: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(NETWORK, self.network):
            raise DomainError(f"Network {self.network!r} is not user, none or bridge:NAME. Check --network.")

    @property
    def bridge(self) -> str | None:
        return self.network.removeprefix("bridge:") if self.network.startswith("bridge:") else None


@dataclass(frozen=True)
class _Domain:
    vm: VmSpec
    disks: tuple[Disk, ...]
    options: DomainOptions

    def has_bus(self, bus: str) -> bool:
        return any(disk.bus == bus for disk in self.disks)

    @property
    def virtio(self) -> str:
        return disk_xml.virtio(self.vm.virtio_transitional)

    @property
    def graphics(self) -> bool:
        return self.options.vnc and self.vm.graphics

    @property
    def io_threads(self) -> int | None:
        return max((disk.io_thread or 0 for disk in self.disks), default=0) or None

    @property
    def root_ports(self) -> int:
        """Of q35: one for each device that is there from the start, and some for what is hot plugged later."""
        if "q35" not in self.vm.machine:
            return 0
        disks = sum(disk.bus == "virtio" for disk in self.disks)
        others = len(self.vm.interfaces) + self.has_bus("scsi") + len(("usb", "memballoon", "rng"))
        return disks + others + SPARE_ROOT_PORTS

    @property
    def boot_devices(self) -> tuple[str, ...]:
        """Without an order in the spec: a disk, else a CD-ROM."""
        ordered = any(disk.spec.boot_order for disk in self.disks) or any(i.boot_order for i in self.vm.interfaces)
        return () if ordered else ("hd", "cdrom")


def name(vm: VmSpec) -> str:
    """The domain's name: namespace_name, as KubeVirt has it."""
    return f"{vm.namespace}_{vm.name}"


def uuid(vm: VmSpec) -> str:
    """The domain's UUID: the firmware's in the spec, else derived from the name. The initiator's name has it."""
    return vm.firmware_uuid or str(uuids.uuid5(UUID_NAMESPACE, f"{vm.namespace}/{vm.name}"))


def _cpu_mode(domain: _Domain) -> str | None:
    """KubeVirt's default is host-model; emulation knows no host, and gives all that it can."""
    if domain.options.type == "qemu":
        return "maximum"
    model = domain.vm.cpu_model or "host-model"
    return model if model in ("host-model", "host-passthrough") else "custom"


def _cpu_model(domain: _Domain) -> str | None:
    return domain.vm.cpu_model if _cpu_mode(domain) == "custom" else None


def _yes(value: bool) -> str:
    return "yes" if value else "no"


HEAD: tuple[Field[_Domain], ...] = (
    Field("@type", lambda domain: domain.options.type),
    Field("name", lambda domain: name(domain.vm)),
    Field("uuid", lambda domain: uuid(domain.vm)),
    Field("memory/@unit", lambda _: "b"),
    Field("memory", lambda domain: domain.vm.memory_bytes),
    Field("vcpu", lambda domain: domain.vm.cpus),
    Field("iothreads", lambda domain: domain.io_threads),
    Field("os/@firmware", lambda domain: "efi" if domain.vm.firmware == "efi" else None),
    Field("os/type/@arch", lambda _: "x86_64"),
    Field("os/type/@machine", lambda domain: domain.vm.machine),
    Field("os/type", lambda _: "hvm"),
    Field("os/firmware/feature[1]/@enabled", lambda d: _yes(d.vm.secure_boot) if d.vm.firmware == "efi" else None),
    Field("os/firmware/feature[1]/@name", lambda d: "enrolled-keys" if d.vm.firmware == "efi" else None),
    Field("os/firmware/feature[2]/@enabled", lambda d: _yes(d.vm.secure_boot) if d.vm.firmware == "efi" else None),
    Field("os/firmware/feature[2]/@name", lambda d: "secure-boot" if d.vm.firmware == "efi" else None),
    Field("os/boot[1]/@dev", lambda domain: "hd" if domain.boot_devices else None),
    Field("os/boot[2]/@dev", lambda domain: "cdrom" if domain.boot_devices else None),
    Field("features/acpi", lambda _: True),
    Field("features/apic", lambda _: True),
    Field("features/smm/@state", lambda domain: "on" if domain.vm.secure_boot else None),
    Field("cpu/@mode", _cpu_mode),
    Field("cpu/model", _cpu_model),
    Field("cpu/topology/@sockets", lambda domain: domain.vm.cpu_sockets),
    Field("cpu/topology/@cores", lambda domain: domain.vm.cpu_cores),
    Field("cpu/topology/@threads", lambda domain: domain.vm.cpu_threads),
    Field("clock/@offset", lambda domain: "timezone" if domain.vm.timezone else "utc"),
    Field("clock/@timezone", lambda domain: domain.vm.timezone),
    Field("on_poweroff", lambda _: "destroy"),
    Field("on_reboot", lambda _: "restart"),
    Field("on_crash", lambda _: "destroy"),
)

CONTROLLERS: tuple[Field[_Domain], ...] = (
    Field("controller[1]/@type", lambda _: "usb"),
    Field("controller[1]/@index", lambda _: 0),
    Field("controller[1]/@model", lambda domain: "qemu-xhci" if domain.graphics or domain.has_bus("usb") else "none"),
    Field("controller[2]/@type", lambda domain: "scsi" if domain.has_bus("scsi") else None),
    Field("controller[2]/@index", lambda domain: 0 if domain.has_bus("scsi") else None),
    Field("controller[2]/@model", lambda domain: domain.virtio if domain.has_bus("scsi") else None),
)

ROOT: tuple[Field[_Domain], ...] = (
    Field("@type", lambda _: "pci"),
    Field("@index", lambda _: 0),
    Field("@model", lambda _: "pcie-root"),
)

ROOT_PORT: tuple[Field[_Domain], ...] = (
    Field("@type", lambda _: "pci"),
    Field("@model", lambda _: "pcie-root-port"),
)

SERIAL_CONSOLE: tuple[Field[_Domain], ...] = (
    Field("serial/@type", lambda _: "pty"),
    Field("serial/log/@file", lambda domain: domain.options.console_log),
    Field("serial/log/@append", lambda domain: "off" if domain.options.console_log else None),
    Field("serial/target/@port", lambda _: 0),
    Field("console/@type", lambda _: "pty"),
    Field("console/target/@type", lambda _: "serial"),
    Field("console/target/@port", lambda _: 0),
)

GRAPHICS: tuple[Field[_Domain], ...] = (
    Field("input/@type", lambda _: "tablet"),
    Field("input/@bus", lambda _: "usb"),
    Field("graphics/@type", lambda _: "vnc"),
    Field("graphics/@port", lambda _: -1),
    Field("graphics/@autoport", lambda _: "yes"),
    Field("graphics/@listen", lambda _: "127.0.0.1"),
    Field("video/model/@type", lambda _: "vga"),
)

TAIL: tuple[Field[_Domain], ...] = (
    Field("memballoon/@model", lambda domain: domain.virtio),
    Field("rng/@model", lambda domain: domain.virtio),
    Field("rng/backend/@model", lambda _: "random"),
    Field("rng/backend", lambda _: "/dev/urandom"),
)

DEVICES = (CONTROLLERS, SERIAL_CONSOLE, GRAPHICS, TAIL)


@dataclass(frozen=True)
class _Interface:
    spec: InterfaceSpec
    domain: _Domain


INTERFACE: tuple[Field[_Interface], ...] = (
    Field("@type", lambda interface: "bridge" if interface.domain.options.bridge else "user"),
    Field("mac/@address", lambda interface: interface.spec.mac or _mac(interface)),
    Field("source/@bridge", lambda interface: interface.domain.options.bridge),
    Field(
        "model/@type",
        lambda interface: interface.domain.virtio if interface.spec.model == "virtio" else interface.spec.model,
    ),
    Field("boot/@order", lambda interface: interface.spec.boot_order),
    Field("alias/@name", lambda interface: disk_xml.alias(interface.spec.name)),
)


def _mac(interface: _Interface) -> str:
    """KVM's prefix, and the rest from the VM's and interface's names: the same at each start, as DHCP likes it."""
    seed = uuids.uuid5(uuids.UUID(uuid(interface.domain.vm)), interface.spec.name).bytes
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in seed[:3])


def render(vm: VmSpec, disks: Sequence[Disk], options: DomainOptions | None = None) -> str:
    """A whole domain that boots from these disks, the same bytes each time.

    Raises:
        DomainError: a disk's file is not made, or a text of the VM has what XML can't carry.
    """
    domain = _Domain(vm, tuple(disks), options or DomainOptions())
    root = markup.build("domain", HEAD, domain)
    devices = markup.Element("devices")
    devices.extend([disk_xml.element(disk) for disk in disks])  # a generator's error would become a TypeError
    devices.extend(markup.build("devices", CONTROLLERS, domain))
    if domain.root_ports:
        ports = [markup.build("controller", ROOT_PORT, domain) for _ in range(domain.root_ports)]
        devices.extend([markup.build("controller", ROOT, domain), *ports])
    if domain.options.network != "none":
        devices.extend([markup.build("interface", INTERFACE, _Interface(spec, domain)) for spec in vm.interfaces])
    if vm.serial_console:
        devices.extend(markup.build("devices", SERIAL_CONSOLE, domain))
    if domain.graphics:
        devices.extend(markup.build("devices", GRAPHICS, domain))
    devices.extend(markup.build("devices", TAIL, domain))
    root.append(devices)
    return markup.text(root)
