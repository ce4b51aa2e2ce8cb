"""vm-disks xml"""

from __future__ import annotations

from typing import Any

import click

from vm_disks.commands.options import read, showable, vm_options
from vm_disks.resolution.vm import resolve
from vm_disks.xml import disk_xml


@click.command("xml")
@vm_options
def command(**where: Any) -> None:
    """Print the VM's claims as libvirt <disk> elements.

    The passwords stay where they are: the XML names libvirt secrets by usage. Seed ISOs, scratch disks and ephemeral
    overlays are files that only `start` makes, so they are left out here.

    \b
    Examples:
      vm-disks xml -f vm.yaml -f claims.yaml
      vm-disks xml -f vm.yaml -n team-a --context prod
    """
    inputs = read(**where)
    for disk in showable(resolve(inputs.vm, inputs.lookup)):
        click.echo(disk_xml.render(disk).rstrip("\n"))
