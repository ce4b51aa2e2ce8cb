"""The command `vm-disks`, which is also `kubectl vm-disks`."""

from __future__ import annotations

import signal
import sys

import click

from lundock_common.command_line import CONTEXT, Program, Subcommand
from vm_disks.errors import VmDisksError


class VmDisks(Program):
    """`xml` does not wait for libvirt."""

    subcommands = {  # noqa: RUF012 (ClassVar of Program)
        "xml": Subcommand("vm_disks.commands.xml:command", "Print the VM's claims as libvirt <disk> elements."),
        "domain": Subcommand(
            "vm_disks.commands.domain:command",
            "Print a bootable libvirt domain for the VM, or a given one with its disks replaced.",
        ),
        "list": Subcommand(
            "vm_disks.commands.list:command",
            "List the VM's disks: claim, volume, portal, IQN, LUN, size, CHAP, and whether the VM runs.",
        ),
        "check": Subcommand(
            "vm_disks.commands.check:command",
            "Say whether this machine can run the VM, and what is missing.",
        ),
        "start": Subcommand("vm_disks.commands.start:command", "Start the VM from its claims' LUNs."),
        "console": Subcommand("vm_disks.commands.console:command", "Join the running VM's serial console."),
        "stop": Subcommand(
            "vm_disks.commands.stop:command",
            "Shut the VM down: its power button (ACPI), and after the grace period its plug.",
        ),
        "run": Subcommand(
            "vm_disks.commands.run:command",
            "Run the VM in the foreground: its console is the output, and a SIGTERM is its power button.",
        ),
        "attach": Subcommand("vm_disks.commands.attach:command", "Plug a claim into the running VM."),
        "detach": Subcommand(
            "vm_disks.commands.detach:command",
            "Unplug a claim from the running VM; the guest has to let go of it, so unmount it there first.",
        ),
        "grow": Subcommand(
            "vm_disks.commands.grow:command",
            "Show the running VM its disks' new sizes, after their claims grew.",
        ),
        "migrate": Subcommand(
            "vm_disks.commands.migrate:command",
            "Move the running VM to another libvirt daemon while it runs.",
        ),
        "annotation": Subcommand(
            "vm_disks.commands.annotation:command",
            "Print the annotation from which KubeVirt's onDefineDomain hook makes the VM's disks.",
        ),
        "completion": Subcommand(
            "vm_disks.commands.completion:command",
            "Print what completes this command in a shell, or behind kubectl.",
        ),
    }
    failures = (VmDisksError,)

    def invoke(self, ctx: click.Context) -> object:
        # So that what a start took is given back: the signals' own way ends the process at once.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # under nohup it is ignored, and stays so
                signal.signal(number, _exit)
        return super().invoke(ctx)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@click.group(cls=VmDisks, context_settings=CONTEXT)
@click.version_option(package_name="lundock")
def main() -> None:
    """Run the VM of a KubeVirt spec from the claims that it names, over iSCSI and without KubeVirt.

    The VM's own QEMU logs in to each claim's LUN: nothing is attached to the host, and no privilege is needed.

    \b
    Examples:
      vm-disks xml -f vm.yaml                        the libvirt disks, claims looked up in the cluster
      vm-disks xml -f vm.yaml -f claims.yaml         the same from files, without a cluster
      vm-disks start -f vm.yaml --console            boot it and join its console (Ctrl-] leaves)
      vm-disks stop -f vm.yaml                       shut it down
      kubectl vm-disks start -f vm.yaml -n team-a    the same as a kubectl plugin
    """


if __name__ == "__main__":
    sys.exit(main())
