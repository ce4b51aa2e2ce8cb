"""vm-disks grow"""

from __future__ import annotations

from typing import Any

import click

from vm_disks.commands.options import connect_option, read, say, vm_options
from vm_disks.resolution.vm import resolve
from vm_disks.runtime import launch as launching
from vm_disks.runtime import tools
from vm_disks.runtime.attached import with_attached
from vm_disks.xml import domain_xml
from vm_disks.xml.disk_xml import alias, needs_file


@click.command("grow")
@vm_options
@connect_option
def command(uri: str | None, **where: Any) -> None:
    """Show the running VM its disks' new sizes, after their claims grew.

    Grow the claim first (`kubectl patch pvc …`); the guest then sees the disk grow, and its file system is the guest's.

    \b
    Example:
      vm-disks grow -f vm.yaml
    """
    from vm_disks.runtime import machine as machines
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    with Hypervisor(uri) as hypervisor:
        machine = machines.find(hypervisor, domain_xml.name(inputs.vm))
        vm = with_attached(inputs.vm, machine)
        disks, credentials = launching.reach(vm, resolve(vm, inputs.lookup), inputs.lookup, say)
        for disk in disks:
            if disk.address is None or needs_file(disk):
                continue
            live = machine.live(alias(disk.spec.name))
            if live is None:
                say(f"disk {disk.spec.name} is not in the running VM")
                continue
            # A new login sees the LUN's size; QEMU's own session keeps the one that it saw at its login.
            size_bytes = tools.capacity_bytes(disk.address, credentials.get(disk.secret_usage or ""))
            before_bytes = machine.disk_bytes(live.target)
            if size_bytes > before_bytes:
                machine.grow(live.target, size_bytes)
                say(f"disk {disk.spec.name} ({live.target}) grew from {before_bytes} to {size_bytes} bytes")
            else:
                say(f"disk {disk.spec.name} ({live.target}) is as large as its LUN: {size_bytes} bytes")
