"""vm-disks detach"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from vm_disks.commands.options import connect_option, read, say, vm_options
from vm_disks.errors import HypervisorError, NotRunning
from vm_disks.model import ClaimSource, VmSpec
from vm_disks.runtime import launch as launching
from vm_disks.xml import domain_xml
from vm_disks.xml.disk_xml import alias


@click.command("detach")
@vm_options
@connect_option
@click.option("--claim", required=True, metavar="NAME", help="The claim, in the VM's namespace.")
@click.option("--disk", "disk_name", metavar="NAME", help="The disk's name. [default: the claim's]")
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
        attached = machine.attached
        name = _disk_of(claim, disk_name, inputs.vm, attached)
        gone = name in attached and machine.live(alias(name)) is None  # the guest let go of it after the last try
        if not gone and not machine.detach(alias(name), timeout_s):
            raise HypervisorError(
                f"The guest of {machine.name} did not let go of disk {name} within {timeout_s:g} s. "
                "Unmount it in the guest and try again; the request stands."
            )
        machine.remember({disk: its for disk, its in attached.items() if disk != name})
        launching.release_claims(inputs.vm, [claim], inputs.lookup, hypervisor)
        say(f"detached claim {claim} from {machine.name}")


def _disk_of(claim: str, disk: str | None, vm: VmSpec, attached: Mapping[str, str]) -> str:
    """The disk that the claim is, which another may not stand for: the claim's Lease goes with it."""
    named = {spec.name: spec.source.claim for spec in vm.disks if isinstance(spec.source, ClaimSource)}
    claims = {**named, **attached}
    name = disk or next((name for name, its in claims.items() if its == claim), claim)
    if claims.get(name) != claim:
        known = ", ".join(f"{name} (claim {its})" for name, its in claims.items()) or "no claims"
        raise NotRunning(f"VM {vm.name} has no disk {name} of claim {claim}; it has {known}.")
    return name
