"""Options that commands share, and what they give: the VM and where to look up its claims."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import click

from lundock_common.command_line import Command, filename_option, kubeconfig_options
from vm_disks import documents, specs
from vm_disks.errors import DocumentError
from vm_disks.model import ClaimSource, Disk, NoMedium, VmSpec
from vm_disks.resolution.lookup import FromCluster, FromManifests, Lookup, connect


@dataclass(frozen=True)
class Inputs:
    """A VM of the files given, and its lookup."""

    vm: VmSpec
    lookup: Lookup


def vm_options(command: Command) -> Command:
    """-f, NAME, and where the claims are: the command gets them as keyword arguments for `read`."""
    for decorate in reversed(
        (
            click.argument("vm_name", metavar="[VM]", required=False),
            filename_option("The VM spec, and where no cluster is to be asked its claims, volumes and Secrets."),
            click.option("-n", "--namespace", metavar="NAME", help="For a VM spec that names none."),
            kubeconfig_options,
            click.option(
                "-p", "--param", "parameters", multiple=True, metavar="KEY=VALUE", help="A Template's parameter."
            ),
            click.option("--skip-unsupported", is_flag=True, help="Leave out what can't work here, with a warning."),
        )
    ):
        command = decorate(command)
    return command


def connect_option(command: Command) -> Command:
    return click.option(
        "-c",
        "--connect",
        "uri",
        metavar="URI",
        help="The libvirt daemon. [default: $LIBVIRT_DEFAULT_URI, or qemu:///system for root, qemu:///session else]",
    )(command)


def acceleration_option(command: Command) -> Command:
    return click.option(
        "--accel",
        "acceleration",
        type=click.Choice(["auto", "kvm", "tcg"]),
        default="auto",
        show_default=True,
        help="auto: KVM where libvirt offers it; if the guest gets stuck under it, again without.",
    )(command)


def network_option(command: Command) -> Command:
    return click.option(
        "--network",
        default="user",
        show_default=True,
        metavar="user|none|bridge:NAME",
        help="user is QEMU's own NAT and needs no privilege.",
    )(command)


def force_option(command: Command) -> Command:
    return click.option(
        "--force",
        is_flag=True,
        help="Take a ReadWriteOnce claim from the VM that its Lease names: be sure that it is gone.",
    )(command)


def grace_option(command: Command) -> Command:
    return click.option(
        "--grace",
        "grace_s",
        type=float,
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="How long the guest may take to shut down before its plug is pulled.",
    )(command)


def showable(disks: Iterable[Disk]) -> list[Disk]:
    """The disks that exist without a start; says which ones don't."""
    shown = []
    for disk in disks:
        match disk.spec.source:
            case ClaimSource(overlay=False) | NoMedium():
                shown.append(disk)
            case _:
                click.echo(f"note: disk {disk.spec.name} is a file that `vm-disks start` makes; left out", err=True)
    return shown


def read(
    vm_name: str | None,
    filenames: tuple[str, ...],
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    parameters: tuple[str, ...],
    skip_unsupported: bool,
) -> Inputs:
    """The one VM that is meant. Claims come from the files if there is a PersistentVolume in them, else from a cluster.

    Raises:
        DocumentError: a file can't be read, or the files have not the one VM that is meant.
        Faults: names everything that is wrong with the VM's spec.
        ClusterError: there is no way to a cluster; says what is wrong with the kubeconfig.
    """
    loaded = documents.load(filenames, dict(_pair(parameter) for parameter in parameters))
    if any(document.get("kind") == "PersistentVolume" for document in loaded):
        namespace = namespace or "default"
        source: FromManifests | FromCluster = FromManifests(loaded, namespace)
    else:
        source = connect(kubeconfig, context)
        namespace = namespace or source.namespace
    vm = specs.read(_the_vm(loaded, vm_name), namespace=namespace, skip_unsupported=skip_unsupported)
    for warning in vm.ignored:
        click.echo(f"warning: {warning}", err=True)
    return Inputs(vm, source)


def _pair(parameter: str) -> tuple[str, str]:
    key, equals, value = parameter.partition("=")
    if not equals:
        raise click.BadParameter(f"{parameter!r} is not KEY=VALUE", param_hint="--param")
    return key, value


def _the_vm(loaded: list[documents.Document], name: str | None) -> documents.Document:
    vms = [document for document in loaded if specs.is_vm(document)]
    names = [str((document.get("metadata") or {}).get("name")) for document in vms]
    if name is not None:
        vms = [vm for vm, its_name in zip(vms, names, strict=True) if its_name == name]
    if len(vms) == 1:
        return vms[0]
    if not names:
        kinds = ", ".join(sorted({str(document.get("kind")) for document in loaded})) or "nothing"
        raise DocumentError(f"No VM in the files given (found: {kinds}). Name the VM's file with -f.")
    if name is not None and not vms:
        raise DocumentError(f"No VM {name} in the files given; there are {', '.join(names)}.")
    raise DocumentError(f"Several VMs in the files given: name one of {', '.join(names)} after the command.")


def say(message: str) -> None:
    """Progress, which is not the guest's output."""
    click.echo(message, err=True)
