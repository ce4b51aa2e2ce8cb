"""vm-disks detach"""

from __future__ import annotations

from typing import Any

import click

from vm_disks import domain_xml
from vm_disks import launch as launching
from vm_disks.commands.options import connect_option, read, say, vm_options
from vm_disks.disk_xml import alias
from vm_disks.errors import HypervisorError


@click.command("detach")
@vm_options
@connect_option
@click.option("--claim", required=True, metavar="NAME")
@click.option("--disk", "disk_name", metavar="NAME", help="The disk's name, if `attach` was given one.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="For the guest to let go.",
)
def command(uri: str | None, claim: str, disk_name: str | None, timeout_s: float, **where: Any) -> None:
    """Unplug a claim from the running VM; the guest has to let go of it, so unmount it there first.

    \b
    Example:
      vm-disks detach -f vm.yaml --claim data
    """
    from vm_disks.runtime import machine as machines
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    with Hypervisor(uri) as hypervisor:
        machine = machines.find(hypervisor, domain_xml.name(inputs.vm))
        if not machine.detach(alias(disk_name or claim), timeout_s):
            raise HypervisorError(
                f"The guest of {machine.name} did not let go of disk {disk_name or claim} within {timeout_s:g} s. "
                "Unmount it in the guest and try again; the request stands."
            )
        machine.remember_claims([one for one in machine.attached_claims if one != claim])
        launching.release_claims(inputs.vm, [claim], inputs.lookup, hypervisor)
        say(f"detached claim {claim} from {machine.name}")
