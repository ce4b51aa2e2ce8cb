"""vm-disks annotation"""

from __future__ import annotations

from typing import Any

import click

from vm_disks import hook
from vm_disks.commands.options import read, showable, vm_options
from vm_disks.resolution.lookup import FromCluster
from vm_disks.resolution.vm import resolve


@click.command("annotation")
@vm_options
def command(**where: Any) -> None:
    """Print the annotation from which KubeVirt's onDefineDomain hook makes the VM's disks.

    See docs/how-to/kubevirt-hook.md.

    \b
    Example:
      vm-disks annotation -f vm.yaml      the value of lundock.io/disks
    """
    inputs = read(**where)
    if isinstance(inputs.lookup, FromCluster):
        inputs.lookup.inside_cluster = True  # where KubeVirt's pods are, wherever this runs
    click.echo(hook.annotation(showable(resolve(inputs.vm, inputs.lookup))))
