"""vm-disks run"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from vm_disks.commands.options import (
    acceleration_option,
    connect_option,
    force_option,
    grace_option,
    network_option,
    read,
    say,
    vm_options,
)
from vm_disks.errors import HypervisorError
from vm_disks.runtime import launch as launching
from vm_disks.runtime.launch import Acceleration

if TYPE_CHECKING:
    from vm_disks.runtime.console import Console
    from vm_disks.runtime.machine import Machine

RETRY_S = 1.0


@click.command("run")
@vm_options
@connect_option
@acceleration_option
@network_option
@force_option
@grace_option
def command(
    uri: str | None, acceleration: Acceleration, network: str, force: bool, grace_s: float, **where: Any
) -> None:
    """Run the VM in the foreground: its console is the output, and a SIGTERM is its power button.

    This is what a pod or a systemd unit runs. `vm-disks console --force` takes the console over for a while.

    \b
    Examples:
      vm-disks run -f /vm/vm.yaml
      vm-disks run -f vm.yaml --grace 120
    """
    from vm_disks.runtime.hypervisor import Hypervisor

    def watch(machine: Machine, console: Console) -> None:
        _shut_down_on_signal(machine, grace_s)
        _follow_to_the_end(machine, console)

    inputs = read(**where)
    launch = launching.prepare(inputs.vm, inputs.lookup, network=network, say=say)
    with Hypervisor(uri) as hypervisor, launching.reserved(launch, inputs.lookup, hypervisor, force=force) as ready:
        launching.boot(ready, hypervisor, acceleration, watch=watch, say=say)
        say(f"{launch.name} ended")


def _shut_down_on_signal(machine: Machine, grace_s: float) -> None:
    """In a thread, so that the guest's last words are still shown."""

    def shut_down(number: int, _frame: object) -> None:
        say(f"{signal.Signals(number).name}: shutting {machine.name} down within {grace_s:g} s")
        threading.Thread(target=machine.shut_down, args=(grace_s,), name="shutdown").start()

    signal.signal(signal.SIGTERM, shut_down)
    signal.signal(signal.SIGINT, shut_down)


def _follow_to_the_end(machine: Machine, console: Console) -> None:
    """A console that closes while the machine runs was taken by somebody: take it again when they leave it."""
    from vm_disks.runtime.console import Console, write_stdout

    console.log(write_stdout)
    while not machine.wait_until_off(RETRY_S):
        try:
            again = Console(machine)
        except HypervisorError:
            continue
        with again:
            again.log(write_stdout)
