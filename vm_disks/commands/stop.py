"""vm-disks stop"""

from __future__ import annotations

from typing import Any

import click

from vm_disks.commands.options import connect_option, grace_option, read, say, vm_options
from vm_disks.runtime import launch as launching
from vm_disks.runtime import state
from vm_disks.xml import domain_xml


@click.command("stop")
@vm_options
@connect_option
@grace_option
def command(uri: str | None, grace_s: float, **where: Any) -> None:
    """Shut the VM down: its power button (ACPI), and after the grace period its plug.

    Its Leases and local files go too, also when it does not run any more.

    \b
    Examples:
      vm-disks stop -f vm.yaml
      vm-disks stop -f vm.yaml --grace 0     pull the plug at once
    """
    from vm_disks.errors import AlreadyRunning, NotRunning
    from vm_disks.runtime import machine
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    name = domain_xml.name(inputs.vm)
    with Hypervisor(uri) as hypervisor:
        try:
            running = machine.find(hypervisor, name)
        except NotRunning:
            say(f"{name} does not run on {hypervisor.uri}")
            running = None
        if running:
            attached = list(running.attached.values())
            obeyed = running.shut_down(grace_s)
            say(f"stopped {name}" if obeyed else f"ended {name}: the guest did not shut down within {grace_s:g} s")
            launching.release_claims(inputs.vm, attached, inputs.lookup, hypervisor)
        try:
            with state.starting(hypervisor.place, name):
                launching.release(inputs.vm, launching.claims_of(inputs.vm), inputs.lookup, hypervisor)
        except AlreadyRunning:
            if running is None:
                raise
            # What ran it sees it end, and gives back what it took: another start may even have begun since.
