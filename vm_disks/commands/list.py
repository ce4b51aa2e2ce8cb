"""vm-disks list"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import click

from lundock_common.command_line import output_option
from lundock_common.tables import Form, render_rows
from vm_disks.commands.options import Inputs, connect_option, read, vm_options
from vm_disks.errors import HypervisorError, VmDisksError
from vm_disks.model import ClaimSource, Disk, DiskSpec
from vm_disks.objects import part
from vm_disks.resolution.vm import all_of, resolve_each
from vm_disks.xml import domain_xml


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a user wants to know of a disk; the names are those of the JSON."""

    disk: str
    claim: str | None
    volume: str | None = None
    target: str | None = None
    bus: str | None
    portal: str | None = None
    iqn: str | None = None
    lun: int | None = None
    size: str | None = None
    """As the claim says it, or its volume where the claim was never applied: a Kubernetes quantity."""
    chap: bool | None = None
    readOnly: bool  # noqa: N815 (JSON, as Kubernetes writes it)
    state: str
    """The VM's, or "error" of a disk that it cannot have."""
    error: str | None = None


TABLE = ("disk", "claim", "target", "portal", "lun", "size", "state")
WIDE = ("disk", "claim", "volume", "target", "bus", "portal", "iqn", "lun", "size", "chap", "readOnly", "state")


@click.command("list")
@vm_options
@connect_option
@output_option
def command(uri: str | None, output: Form, **where: Any) -> None:
    """List the VM's disks: claim, volume, portal, IQN, LUN, size, CHAP, and whether the VM runs.

    Ends with 1, and says why, when the VM cannot have one of them; the others are listed all the same.

    \b
    Examples:
      vm-disks list -f vm.yaml
      vm-disks list -f vm.yaml -o json
    """
    inputs = read(**where)
    found = resolve_each(inputs.vm, inputs.lookup)
    state = _state(inputs, uri)
    rows = [
        _failed(spec, disk) if isinstance(disk, VmDisksError) else _row(disk, inputs, state)
        for spec, disk in zip(inputs.vm.disks, found, strict=True)
    ]
    columns = WIDE if output == "wide" else TABLE
    click.echo(render_rows([dataclasses.asdict(row) for row in rows], columns, output))
    all_of(inputs.vm, found)


def _row(disk: Disk, inputs: Inputs, state: str) -> Row:
    address = disk.address
    claim = (disk.claim and inputs.lookup.claim(inputs.vm.namespace, disk.claim)) or {}
    volume = (disk.volume and inputs.lookup.volume(disk.volume)) or {}
    size = part(claim, "status", "capacity").get("storage") or part(volume, "spec", "capacity").get("storage")
    return Row(
        disk=disk.spec.name,
        claim=disk.claim,
        volume=disk.volume,
        target=disk.target,
        bus=disk.bus,
        portal=str(address.portals[0]) if address else None,
        iqn=address.iqn if address else None,
        lun=address.lun if address else None,
        size=str(size) if size else None,
        chap=bool(address and address.chap),
        readOnly=disk.read_only,
        state=state,
    )


def _failed(spec: DiskSpec, error: VmDisksError) -> Row:
    return Row(
        disk=spec.name,
        claim=spec.source.claim if isinstance(spec.source, ClaimSource) else None,
        bus=spec.bus,
        readOnly=spec.read_only,
        state="error",
        error=str(error),
    )


def _state(inputs: Inputs, uri: str | None) -> str:
    """The domain's; "unknown" without a libvirt to ask, for a list needs none."""
    try:
        from vm_disks.runtime import machine
        from vm_disks.runtime.hypervisor import Hypervisor

        with Hypervisor(uri) as hypervisor:
            name = domain_xml.name(inputs.vm)
            return machine.find(hypervisor, name).state if hypervisor.runs(name) else "off"
    except HypervisorError:
        return "unknown"
