"""A VirtualMachineInstance's spec, as kubevirt.io/v1 and v1alpha3 have it, and v1alpha1 and v1alpha2 nearly."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from vm_disks.model import InterfaceSpec, VmSpec
from vm_disks.specs import disks
from vm_disks.specs.fields import FIELDS, LEGACY_FIELDS, check
from vm_disks.specs.node import Node
from vm_disks.specs.volumes import LABEL, LABEL_RULE, NAME, NAME_RULE, quantity_of

DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024
MACHINE = r"(pc|q35)?|pc-(q35|i440fx)-[0-9a-z.]+"
TIMEZONE = r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}"
MAX_CPUS = 255
"""More take an IOMMU with extended interrupt mode."""
MAX_NAME_LENGTH = 200
"""libvirt and QEMU put it into names of files."""
MAC = r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}"
UUID = r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def read(metadata: Node, spec: Node, namespace: str, *, legacy: bool = False) -> VmSpec:
    """The VM; what is wrong goes to the nodes' faults."""
    ignored = check(spec, {**FIELDS, **LEGACY_FIELDS} if legacy else FIELDS)
    domain = spec["domain"]
    if not domain:
        domain.fault("is missing")
    sockets, cores, threads = _topology(domain)
    firmware, secure_boot = _firmware(domain["firmware.bootloader"])
    machine = domain["machine.type"].text(MACHINE, "is not pc, q35 or a version of these") or "q35"
    if secure_boot and "q35" not in machine:
        domain["firmware.bootloader.efi.secureBoot"].fault(f"is true (as when absent), which needs q35, not {machine}")
    vm = VmSpec(
        name=metadata["name"].required(NAME, NAME_RULE),
        namespace=metadata["namespace"].text(LABEL, LABEL_RULE) or namespace,
        uid=metadata["uid"].text(),
        hostname=spec["hostname"].text(LABEL, LABEL_RULE),
        disks=disks.read(spec, legacy=legacy),
        interfaces=_interfaces(spec),
        firmware_uuid=(domain["firmware.uuid"].text(UUID, "is not a UUID") or "").lower() or None,
        cpu_sockets=sockets,
        cpu_cores=cores,
        cpu_threads=threads,
        cpu_model=domain["cpu.model"].text(r"[A-Za-z0-9_.-]+", "is not a CPU model"),
        memory_bytes=_memory(domain),
        machine=machine,
        firmware=firmware,
        secure_boot=secure_boot,
        timezone=domain["clock.timezone"].text(TIMEZONE, "is not a time zone such as Europe/Berlin"),
        block_multi_queue=domain["devices.blockMultiQueue"].flag(),
        virtio_transitional=domain["devices.useVirtioTransitional"].flag(),
        serial_console=domain["devices.autoattachSerialConsole"].flag(default=True),
        graphics=domain["devices.autoattachGraphicsDevice"].flag(default=True),
        ignored=tuple(ignored),
    )
    spec["architecture"].choice(("amd64",))
    if len(vm.namespace) + len(vm.name) > MAX_NAME_LENGTH:
        metadata["name"].fault(f"is longer than {MAX_NAME_LENGTH} characters, with the namespace")
    _check_boot_order(spec)
    _check_aliases(spec)
    return vm


def _topology(domain: Node) -> tuple[int, int, int]:
    cpu = domain["cpu"]
    given = [cpu[name].number(1, MAX_CPUS) for name in ("sockets", "cores", "threads")]
    if not any(given):
        count = _first(domain, "resources.limits.cpu", "resources.requests.cpu")
        return min(count or 1, MAX_CPUS), 1, 1
    sockets, cores, threads = (value or 1 for value in given)
    if sockets * cores * threads > MAX_CPUS:
        cpu.fault(f"{sockets * cores * threads} vCPUs are more than {MAX_CPUS}")
    return sockets, cores, threads


def _memory(domain: Node) -> int:
    size = _first(domain, "memory.guest", "resources.limits.memory", "resources.requests.memory")
    return size or DEFAULT_MEMORY_BYTES


def _first(domain: Node, *names: str) -> int | None:
    """The first that is given; all are checked."""
    sizes = [quantity_of(domain[name]) for name in names]
    return next((size for size in sizes if size), None)


def _firmware(bootloader: Node) -> tuple[Literal["bios", "efi"], bool]:
    efi = bootloader["efi"]
    if efi and bootloader["bios"]:
        bootloader.fault("has bios and efi; give one")
    return ("efi", efi["secureBoot"].flag(default=True)) if efi else ("bios", False)


def _interfaces(spec: Node) -> tuple[InterfaceSpec, ...]:
    devices = spec["domain.devices"]
    if not devices["interfaces"]:
        automatic = devices["autoattachPodInterface"].flag(default=True)
        return (InterfaceSpec("default"),) if automatic else ()
    secondary = {item["name"].text() for item in spec["networks"].items() if item["multus"] or item["genie"]}
    return tuple(
        InterfaceSpec(
            name=item["name"].required(r"[A-Za-z0-9_-]{1,63}", "is not a name of letters, digits, '-' and '_'"),
            model=item["model"].choice(("virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet")) or "virtio",
            mac=_mac(item["macAddress"]),
            boot_order=item["bootOrder"].number(1),
        )
        for item in devices["interfaces"].items()
        if item["name"].text() not in secondary
    )


def _mac(node: Node) -> str | None:
    mac = node.text(MAC, "is not a MAC address")
    if mac and int(mac[:2], 16) & 1:
        node.fault(f"{mac} is a multicast address")
    return mac.replace("-", ":").lower() if mac else None


def _check_boot_order(spec: Node) -> None:
    """KubeVirt and libvirt want it unique over disks and interfaces."""
    used: Counter[int] = Counter()
    devices = spec["domain.devices"]
    for item in (*devices["disks"].items(), *devices["interfaces"].items()):
        order = item["bootOrder"].value
        if isinstance(order, int):
            used[order] += 1
            if used[order] > 1:
                item["bootOrder"].fault(f"{order} is used twice")


def _check_aliases(spec: Node) -> None:
    """A device's name becomes its alias, and libvirt wants that unique over disks and interfaces."""
    devices = spec["domain.devices"]
    disk_names = [item["name"].value for item in devices["disks"].items()]
    names: Counter[object] = Counter()
    for item in devices["interfaces"].items():
        name = item["name"].value
        if not isinstance(name, str):
            continue
        names[name] += 1
        if names[name] > 1:
            item["name"].fault(f"another interface is named {name!r}")
        elif name in disk_names:
            item["name"].fault(f"a disk is named {name!r} too, and libvirt tells devices apart by name; rename one")
