"""vm-disks migrate"""

from __future__ import annotations

from typing import Any

import click

from vm_disks.commands.options import Inputs, connect_option, read, say, vm_options
from vm_disks.errors import Faults, SpecError
from vm_disks.model import Disk, VmSpec
from vm_disks.resolution.vm import resolve
from vm_disks.runtime import launch as launching
from vm_disks.runtime.attached import with_attached
from vm_disks.runtime.leases import access_modes
from vm_disks.xml import domain_xml
from vm_disks.xml.disk_xml import needs_file


@click.command("migrate")
@vm_options
@connect_option
@click.option("--to", "destination_uri", required=True, metavar="URI", help="The libvirt daemon to go to.")
@click.option(
    "--via",
    "migration_uri",
    metavar="URI",
    help="Where the destination's QEMU is reached (tcp://HOST). [default: its name]",
)
def command(uri: str | None, destination_uri: str, migration_uri: str | None, **where: Any) -> None:
    """Move the running VM to another libvirt daemon while it runs.

    For a moment both sides are logged in to each LUN, so the claims must be ReadWriteMany.

    \b
    Example:
      vm-disks migrate -f vm.yaml --to qemu+ssh://other-host/system
    """
    from vm_disks.runtime import machine as machines
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    _movable(inputs.vm, inputs)  # before any daemon is asked
    with Hypervisor(uri) as source, Hypervisor(destination_uri) as destination:
        machine = machines.find(source, domain_xml.name(inputs.vm))
        disks = _movable(with_attached(inputs.vm, machine), inputs)
        credentials = {
            disk.secret_usage: launching.credentials_of(disk, inputs.lookup) for disk in disks if disk.secret_usage
        }
        machine.migrate(destination, credentials, migration_uri)
        say(f"{machine.name} runs on {destination.uri} now")


def _movable(vm: VmSpec, inputs: Inputs) -> list[Disk]:
    """The VM's disks.

    Raises:
        Faults: names each that can't be on two hosts at once, or each claim that gives no LUN.
        ClusterError: a claim can't be looked up.
    """
    disks, faults = resolve(vm, inputs.lookup), []
    for disk in disks:
        allowed = {"ReadWriteMany", "ReadOnlyMany"} if disk.read_only else {"ReadWriteMany"}
        if needs_file(disk):
            faults.append(SpecError(disk.spec.path, f"disk {disk.spec.name} is a file on this host"))
        elif disk.claim and not allowed & (modes := access_modes(vm, disk.claim, inputs.lookup)):
            fix = "Use a ReadWriteMany claim, or stop the VM here and start it there"
            faults.append(SpecError(disk.spec.path, f"claim {disk.claim} is {', '.join(sorted(modes))}. {fix}"))
    if faults:
        raise Faults(f"VM {vm.namespace}/{vm.name} can't migrate", faults)
    return disks
