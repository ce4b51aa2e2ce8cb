"""The disks that `vm-disks attach` added to a running VM, as if its spec named them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

from vm_disks.model import Bus, ClaimSource, DiskSpec, VmSpec
from vm_disks.xml.disk_xml import alias

if TYPE_CHECKING:
    from vm_disks.runtime.machine import Machine


def with_attached(vm: VmSpec, machine: Machine) -> VmSpec:
    """The VM with what was plugged into it since its start, so that all of its disks grow and move.

    Raises:
        HypervisorError: libvirt can't be asked about the VM.
    """
    plugged = []
    for name, claim in machine.attached.items():
        live = machine.live(alias(name))
        if live is not None:  # else the guest let go of it after `detach` had given up
            source = ClaimSource(claim, read_only=live.read_only, hotpluggable=True)
            spec = DiskSpec(name, f"attached disk {name}", source, bus=cast(Bus, live.bus), target=live.target)
            plugged.append(dataclasses.replace(spec, read_only=live.read_only))
    return dataclasses.replace(vm, disks=(*vm.disks, *plugged))
