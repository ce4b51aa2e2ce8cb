"""The disks of a VM, with the LUNs that its claims are bound to."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from vm_disks.errors import ClaimError, CredentialsError, Faults, SpecError, VmDisksError
from vm_disks.model import ClaimSource, Disk, DiskSpec, VmSpec
from vm_disks.resolution import claims, slots
from vm_disks.resolution.lookup import Lookup
from vm_disks.specs.rules import violations


def resolve(vm: VmSpec, lookup: Lookup) -> list[Disk]:
    """The VM's disks, each with the LUN that its claim is bound to, in the order of the spec.

    Reads through `lookup` and nothing else.

    Raises:
        Faults: names every claim that gives no LUN, and every disk that can't be as the spec has it.
        ClusterError: an object can't be looked up.
    """
    return all_of(vm, resolve_each(vm, lookup))


def resolve_each(vm: VmSpec, lookup: Lookup) -> list[Disk | VmDisksError]:
    """Each disk of the VM as `resolve` gives it, or what is wrong with it.

    Raises:
        ClusterError: an object can't be looked up.
    """
    found: list[Disk | VmDisksError] = []
    for spec in vm.disks:
        try:
            found.append(_resolve_disk(vm, spec, lookup))
        except (ClaimError, CredentialsError, SpecError) as error:
            found.append(error)
    shared = {error.path: error for error in _shared([disk for disk in found if isinstance(disk, Disk)])}
    found = [shared.get(disk.spec.path, disk) if isinstance(disk, Disk) else disk for disk in found]
    return _numbered(vm, found)


def all_of(vm: VmSpec, found: Sequence[Disk | VmDisksError]) -> list[Disk]:
    """The disks that `resolve_each` found.

    Raises:
        Faults: it did not find all; says what is wrong with each of the others.
    """
    if faults := [error for error in found if isinstance(error, VmDisksError)]:
        raise Faults(f"VM {vm.namespace}/{vm.name}", faults)
    return [disk for disk in found if isinstance(disk, Disk)]


def secret_usage(vm: VmSpec, spec: DiskSpec) -> str:
    """The usage of the libvirt secret with a disk's CHAP password: unique to the VM and the disk."""
    return f"lundock:{vm.namespace}:{vm.name}:{spec.name}"


def _resolve_disk(vm: VmSpec, spec: DiskSpec, lookup: Lookup) -> Disk:
    """The disk, but for its device name and numbers."""
    lun = None
    if isinstance(spec.source, ClaimSource):
        lun = claims.resolve(spec.source, vm.namespace, spec.path, lookup)
        read_only_lun = lun.address.read_only and not spec.source.overlay
        spec = dataclasses.replace(spec, read_only=spec.read_only or read_only_lun)
    bus = spec.bus or slots.default_bus(spec)
    for _, reason in violations(dataclasses.replace(spec, bus=bus)):
        because = f" (PV {lun.volume} or its claim is read-only)" if lun and lun.address.read_only else ""
        raise SpecError(spec.path, f"{reason}{because}")
    return Disk(
        spec=spec,
        bus=bus,
        target="",
        read_only=spec.read_only,
        address=lun.address if lun else None,
        secret_usage=secret_usage(vm, spec) if lun and lun.address.chap else None,
        claim=spec.source.claim if isinstance(spec.source, ClaimSource) else None,
        volume=lun.volume if lun else None,
        queues=vm.cpus if vm.block_multi_queue and bus == "virtio" else None,
        virtio_transitional=vm.virtio_transitional,
    )


def _shared(found: list[Disk]) -> list[SpecError]:
    """One LUN under two disks of which one writes would be two caches over the same blocks, also by two claims."""
    users: dict[tuple[str, int], list[Disk]] = defaultdict(list)
    for disk in found:
        if disk.address:
            users[disk.address.iqn.lower(), disk.address.lun].append(disk)
    return [
        SpecError(
            other.spec.path,
            f"claim {other.claim!r} is the LUN of disk {first.spec.name!r} too (LUN {lun} of {iqn}); "
            "make both shareable or read-only",
        )
        for (iqn, lun), (first, *others) in users.items()
        if any(_writes(disk) for disk in (first, *others))
        for other in others
        if not (first.spec.shareable and other.spec.shareable)
    ]


def _writes(disk: Disk) -> bool:
    """Whether the guest writes to the LUN itself, and not to a layer over it."""
    return not disk.read_only and not (isinstance(disk.spec.source, ClaimSource) and disk.spec.source.overlay)


def _numbered(vm: VmSpec, found: list[Disk | VmDisksError]) -> list[Disk | VmDisksError]:
    """With device names and numbers. A disk that was not found keeps its name from the others."""
    names = slots.targets(
        [
            (disk.spec, disk.bus) if isinstance(disk, Disk) else (spec, spec.bus or slots.default_bus(spec))
            for spec, disk in zip(vm.disks, found, strict=True)
        ]
    )
    units = threads = 0
    numbered: list[Disk | VmDisksError] = []
    for disk, name in zip(found, names, strict=True):
        if isinstance(disk, VmDisksError):
            numbered.append(disk)
            continue
        unit, io_thread = None, None
        if disk.bus == "scsi":
            unit, units = units, units + 1
        if disk.spec.dedicated_io_thread:
            threads += 1
            io_thread = threads
        numbered.append(dataclasses.replace(disk, target=name, unit=unit, io_thread=io_thread))
    return numbered
