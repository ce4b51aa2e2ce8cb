"""vm-disks attach"""

from __future__ import annotations

import dataclasses
from itertools import count
from typing import Any

import click

from vm_disks import domain_xml, markup, resolve, slots
from vm_disks import launch as launching
from vm_disks.commands.options import connect_option, force_option, read, say, vm_options
from vm_disks.disk_xml import alias
from vm_disks.errors import AlreadyRunning
from vm_disks.model import Bus, ClaimSource, DiskSpec


@click.command("attach")
@vm_options
@connect_option
@force_option
@click.option("--claim", required=True, metavar="NAME", help="The claim, in the VM's namespace.")
@click.option("--disk", "disk_name", metavar="NAME", help="The disk's name. [default: the claim's]")
@click.option("--bus", type=click.Choice(["virtio", "scsi"]), default="scsi", show_default=True)
@click.option("--serial", metavar="TEXT", help="What the guest finds it by, in /dev/disk/by-id.")
@click.option("--read-only", is_flag=True)
def command(
    uri: str | None,
    force: bool,
    claim: str,
    disk_name: str | None,
    bus: Bus,
    serial: str | None,
    read_only: bool,
    **where: Any,
) -> None:
    """Plug a claim into the running VM.

    A scsi disk always finds room; a virtio disk needs a free PCIe port in the domain.

    \b
    Examples:
      vm-disks attach -f vm.yaml --claim data
      vm-disks attach -f vm.yaml --claim data --bus virtio --serial DATA1
    """
    from vm_disks.runtime import machine as machines
    from vm_disks.runtime.hypervisor import Hypervisor

    inputs = read(**where)
    name = disk_name or claim
    spec = DiskSpec(
        name=name,
        path="--claim",
        source=ClaimSource(claim, read_only=read_only, hotpluggable=True),
        bus=bus,
        serial=serial,
        read_only=read_only,
    )
    vm = dataclasses.replace(inputs.vm, disks=(spec,))
    with Hypervisor(uri) as hypervisor:
        machine = machines.find(hypervisor, domain_xml.name(vm))
        before = markup.parse(machine.xml)
        if alias(name) in _aliases(before):
            raise AlreadyRunning(f"Domain {machine.name} has a disk {name} already. Name another with --disk.")
        vm = dataclasses.replace(vm, disks=(dataclasses.replace(spec, target=_free_target(before, bus)),))
        disks, credentials = launching.reach(vm, resolve(vm, inputs.lookup), inputs.lookup, say)
        after = markup.parse(domain_xml.into(machine.xml, vm, disks))
        launching.reserve(vm, disks, inputs.lookup, hypervisor, force=force)
        try:
            machine.attach(_added(before, after, alias(name)), credentials)
            machine.remember_claims([*machine.attached_claims, claim])
        except BaseException:
            launching.release_claims(vm, [claim], inputs.lookup, hypervisor)
            raise
        say(f"attached claim {claim} to {machine.name} as disk {name}")


def _aliases(domain: markup.Element) -> set[str | None]:
    return {markup.get(disk, "alias", "name") for disk in domain.iterfind("./devices/disk")}


def _free_target(domain: markup.Element, bus: Bus) -> str:
    taken = {markup.get(disk, "target", "dev") for disk in domain.iterfind("./devices/disk")}
    prefix = "vd" if bus == "virtio" else "sd"
    return next(name for name in (slots.device_name(prefix, i) for i in count()) if name not in taken)


def _added(before: markup.Element, after: markup.Element, disk_alias: str) -> list[str]:
    """The controller that the disk needs, if the domain lacks it, and the disk."""
    had = {(one.get("type"), one.get("index")) for one in before.iterfind("./devices/controller")}
    controllers = [
        one for one in after.iterfind("./devices/controller[@type='scsi']") if ("scsi", one.get("index")) not in had
    ]
    disks = [one for one in after.iterfind("./devices/disk") if markup.get(one, "alias", "name") == disk_alias]
    return [markup.text_as_is(one) for one in (*controllers, *disks)]
