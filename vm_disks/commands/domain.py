"""vm-disks domain"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from vm_disks.commands.options import network_option, read, showable, vm_options
from vm_disks.errors import DocumentError
from vm_disks.resolution.vm import resolve
from vm_disks.xml import domain_xml


@click.command("domain")
@vm_options
@click.option(
    "--into", metavar="FILE", help="Put the disks into this domain XML and keep all else; - is standard input."
)
@click.option(
    "--type",
    "domain_type",
    type=click.Choice(["kvm", "qemu"]),
    default="kvm",
    show_default=True,
    help="The kind of domain: qemu emulates, for machines without KVM.",
)
@network_option
def command(into: str | None, domain_type: Literal["kvm", "qemu"], network: str, **where: Any) -> None:
    """Print a bootable libvirt domain for the VM, or a given one with its disks replaced.

    \b
    Examples:
      vm-disks domain -f vm.yaml > domain.xml
      virsh dumpxml my-vm | vm-disks domain -f vm.yaml --into - > with-claims.xml
    """
    inputs = read(**where)
    disks = showable(resolve(inputs.vm, inputs.lookup))
    if into is None:
        options = domain_xml.DomainOptions(type=domain_type, network=network)
        click.echo(domain_xml.render(inputs.vm, disks, options).rstrip("\n"))
    else:
        click.echo(domain_xml.into(_text(into), inputs.vm, disks).rstrip("\n"))


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"Could not read the domain XML {path}: {error}. `virsh dumpxml` makes one.") from error
