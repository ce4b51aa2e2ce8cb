"""vm-disks stop"""

from __future__ import annotations

from typing import Any

import click

from vm_disks import domain_xml
from vm_disks import launch as launching
from vm_disks.commands.options import connect_option, grace_option, read, say, vm_options


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
    from vm_disks.errors import NotRunning
    from vm_disks.runtime import machine
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    name = domain_xml.name(inputs.vm)
    with Hypervisor(uri) as hypervisor:
        claims = launching.claims_of(inputs.vm)
        try:
            running = machine.find(hypervisor, name)
        except NotRunning:
            say(f"{name} does not run on {hypervisor.uri}")
        else:
            claims += running.attached_claims
            obeyed = running.shut_down(grace_s)
            say(f"stopped {name}" if obeyed else f"ended {name}: the guest did not shut down within {grace_s:g} s")
        launching.release(inputs.vm, claims, inputs.lookup, hypervisor)
