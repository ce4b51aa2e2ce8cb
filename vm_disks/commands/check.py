"""vm-disks check"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from vm_disks.commands.options import Inputs, connect_option, read, vm_options
from vm_disks.errors import ToolError, VmDisksError
from vm_disks.model import Disk
from vm_disks.resolution.vm import resolve
from vm_disks.runtime import launch as launching
from vm_disks.runtime import portals, tools


@click.command("check")
@vm_options
@connect_option
@click.pass_context
def command(context: click.Context, /, uri: str | None, **where: Any) -> None:
    """Say whether this machine can run the VM, and what is missing.

    libvirt answers; QEMU has its iSCSI driver; each claim resolves, its portal answers, its credentials log in.

    \b
    Example:
      vm-disks check -f vm.yaml
    """
    inputs = read(**where)
    passed = [_check("libvirt", partial(_libvirt, uri)), _check("QEMU's iSCSI driver", _driver)]
    disks: list[Disk] = []

    def claims() -> str:
        disks.extend(resolve(inputs.vm, inputs.lookup))
        return f"{sum(disk.address is not None for disk in disks)} resolved to LUNs"

    passed.append(_check("claims", claims))
    passed += [_check(f"disk {disk.spec.name}", partial(_login, disk, inputs)) for disk in disks if disk.address]
    context.exit(0 if all(passed) else 1)


def _check(what: str, find_out: Callable[[], str]) -> bool:
    try:
        click.echo(f"ok      {what}: {find_out()}")
    except VmDisksError as error:
        click.echo(f"FAILED  {what}: {error}")
        return False
    return True


def _libvirt(uri: str | None) -> str:
    from vm_disks.runtime.hypervisor import Hypervisor

    with Hypervisor(uri) as hypervisor:
        return f"{hypervisor.uri} answers; VMs run {'under KVM' if hypervisor.offers_kvm() else 'without KVM, slowly'}"


def _driver() -> str:
    if not tools.reads_iscsi():
        raise ToolError("QEMU was built without it or it is not installed (Debian package qemu-block-extra).")
    return "installed"


def _login(disk: Disk, inputs: Inputs) -> str:
    assert disk.address is not None  # noqa: S101
    credentials = launching.credentials_of(disk, inputs.lookup) if disk.secret_usage else None
    portal = portals.first_answering(disk.address.portals, subject=launching.subject(disk))
    size_bytes = tools.capacity_bytes(dataclasses.replace(disk.address, portals=(portal,)), credentials)
    with_chap = "logged in with CHAP" if credentials else "logged in"
    return f"claim {disk.claim}, {disk.address.iqn} at {portal}: {with_chap}, {size_bytes} bytes"
