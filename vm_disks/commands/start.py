"""vm-disks start"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from vm_disks.commands.options import (
    acceleration_option,
    connect_option,
    force_option,
    network_option,
    read,
    say,
    showable,
    vm_options,
)
from vm_disks.errors import ConsoleError
from vm_disks.runtime import launch as launching
from vm_disks.runtime.launch import Acceleration

if TYPE_CHECKING:
    from vm_disks.runtime.console import Console
    from vm_disks.runtime.machine import Machine


SETTLE_S = 3.0
"""How long a start under KVM that follows no console is watched for a guest that gets stuck."""


@click.command("start")
@vm_options
@connect_option
@acceleration_option
@network_option
@force_option
@click.option("--dry-run", is_flag=True, help="Resolve and reach everything, print the domain, and start nothing.")
@click.option("--console", "interactive", is_flag=True, help="Join the VM's console; Ctrl-] leaves it.")
@click.option("--until", metavar="TEXT", help="Show the console until it says TEXT, such as login:")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Wait no longer than this for --until.")
def command(
    uri: str | None,
    acceleration: Acceleration,
    network: str,
    force: bool,
    dry_run: bool,
    interactive: bool,
    until: str | None,
    timeout_s: float | None,
    **where: Any,
) -> None:
    """Start the VM from its claims' LUNs.

    The domain is transient, and CHAP passwords are known to libvirt only while it starts: nothing is left when it ends.

    \b
    Examples:
      vm-disks start -f vm.yaml --console
      vm-disks start -f vm.yaml --until login: --timeout 300
      vm-disks start -f vm.yaml -c qemu+ssh://host/system
    """
    from vm_disks.runtime.console import write_stdout
    from vm_disks.runtime.hypervisor import Hypervisor

    def watch(machine: Machine, console: Console) -> None:
        if until is not None:
            console.follow(write_stdout, until=until, timeout_s=timeout_s)
            click.echo()
        if interactive:
            console.join_terminal()
        elif until is None and machine.uses_kvm:
            console.settle(SETTLE_S)

    inputs = read(**where)
    if (interactive or until is not None) and not inputs.vm.serial_console:
        raise ConsoleError(
            f"VM {inputs.vm.name} has no console to join or to wait at: its spec says autoattachSerialConsole: false. "
            "Start it without --console and --until."
        )
    launch = launching.prepare(inputs.vm, inputs.lookup, network=network, say=say)
    if dry_run:
        shown = dataclasses.replace(launch, disks=tuple(showable(launch.disks)))
        with Hypervisor(uri) as hypervisor:
            click.echo(shown.xml(launching.domain_types(acceleration, hypervisor.offers_kvm())[0]).rstrip("\n"))
        return
    with Hypervisor(uri) as hypervisor, launching.reserved(launch, inputs.lookup, hypervisor, force=force) as ready:
        launching.boot(ready, hypervisor, acceleration, watch=watch, say=say)
