"""vm-disks attach"""

from __future__ import annotations

import dataclasses
from itertools import count
from typing import Any

import click

from vm_disks.commands.options import connect_option, force_option, read, say, vm_options
from vm_disks.errors import AlreadyRunning, Faults, VmDisksError
from vm_disks.model import Bus, ClaimSource, Disk, DiskSpec, VmSpec
from vm_disks.resolution import slots
from vm_disks.resolution.vm import resolve
from vm_disks.runtime import launch as launching
from vm_disks.runtime import state
from vm_disks.specs.disks import SERIAL, SERIAL_RULE
from vm_disks.specs.node import Node
from vm_disks.specs.volumes import LABEL, LABEL_RULE, NAME, NAME_RULE
from vm_disks.xml import domain_xml, markup
from vm_disks.xml.disk_xml import alias


@click.command("attach")
@vm_options
@connect_option
@force_option
@click.option("--claim", required=True, metavar="NAME", help="The claim, in the VM's namespace.")
@click.option("--disk", "disk_name", metavar="NAME", help="The disk's name. [default: the claim's]")
@click.option(
    "--bus", type=click.Choice(["virtio", "scsi"]), default="scsi", show_default=True, help="The guest's controller."
)
@click.option("--serial", metavar="TEXT", help="What the guest finds it by, in /dev/disk/by-id.")
@click.option("--read-only", is_flag=True, help="The guest cannot write to it.")
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
    _check(inputs.vm, claim, name, serial)
    spec = DiskSpec(
        name=name,
        path="--claim",
        source=ClaimSource(claim, read_only=read_only, hotpluggable=True),
        bus=bus,
        serial=serial,
        read_only=read_only,
    )
    vm = dataclasses.replace(inputs.vm, disks=(spec,))
    with Hypervisor(uri) as hypervisor, state.starting(hypervisor.place, domain_xml.name(vm), "attach"):
        machine = machines.find(hypervisor, domain_xml.name(vm))
        before = markup.parse(machine.xml)
        if alias(name) in _aliases(before):
            raise AlreadyRunning(f"Domain {machine.name} has a disk {name} already. Name another with --disk.")
        vm = dataclasses.replace(vm, disks=(dataclasses.replace(spec, target=_free_target(before, bus)),))
        disks, credentials = launching.reach(vm, resolve(vm, inputs.lookup), inputs.lookup, say)
        _refuse_second(before, disks[0], machine.name)
        after = markup.parse(domain_xml.into(machine.xml, vm, disks))
        launching.reserve(vm, disks, inputs.lookup, hypervisor, force=force)
        try:
            machine.attach(_added(before, after, alias(name)), credentials)
            machine.remember({**machine.attached, name: claim})
        except BaseException:
            if machine.live(alias(name)) is None:
                launching.release_claims(vm, [claim], inputs.lookup, hypervisor)
            raise
        say(f"attached claim {claim} to {machine.name} as disk {name}")


def _check(vm: VmSpec, claim: str, name: str, serial: str | None) -> None:
    """The rules of a spec, for what the command line says.

    Raises:
        Faults: the claim, the disk's name or its serial breaks one.
    """
    faults: list[VmDisksError] = []
    Node(claim, "--claim", faults).required(NAME, NAME_RULE)
    Node(name, "--disk", faults).required(LABEL, LABEL_RULE)
    Node(serial, "--serial", faults).text(SERIAL, SERIAL_RULE)
    if faults:
        raise Faults(f"VM {vm.namespace}/{vm.name}", faults)


def _refuse_second(domain: markup.Element, disk: Disk, name: str) -> None:
    """Refuse a LUN that the VM has already, where one of the two would write to it.

    Raises:
        AlreadyRunning: it is such a LUN.
    """
    assert disk.address is not None  # noqa: S101
    lun = f"{disk.address.iqn}/{disk.address.lun}"
    for other in domain.iterfind("./devices/disk"):
        reads = disk.read_only and other.find("readonly") is not None
        if not reads and any(source.get("name") == lun for source in other.iter("source")):
            dev = markup.get(other, "target", "dev")
            raise AlreadyRunning(f"Domain {name} has claim {disk.claim} already: it is the LUN of {dev}.")


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
