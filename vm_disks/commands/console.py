"""vm-disks console"""

from __future__ import annotations

from typing import Any

import click

from vm_disks.commands.options import connect_option, read, vm_options
from vm_disks.xml import domain_xml


@click.command("console")
@vm_options
@connect_option
@click.option("--force", is_flag=True, help="Take the console from whoever has it open.")
@click.option("--until", metavar="TEXT", help="Leave when the guest says TEXT.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Leave after this time, as an error.")
def command(uri: str | None, force: bool, until: str | None, timeout_s: float | None, **where: Any) -> None:
    """Join the running VM's serial console. Ctrl-] leaves it.

    Where standard input is not a terminal, what it holds is typed for you.

    \b
    Examples:
      vm-disks console -f vm.yaml
      echo root | vm-disks console -f vm.yaml --until '# ' --timeout 10
    """
    from vm_disks.runtime import machine
    from vm_disks.runtime.console import Console
    from vm_disks.runtime.hypervisor import Hypervisor

    vm = read(**where).vm
    with Hypervisor(uri) as hypervisor, Console(machine.find(hypervisor, domain_xml.name(vm)), force=force) as console:
        console.join_terminal(until=until, timeout_s=timeout_s)
