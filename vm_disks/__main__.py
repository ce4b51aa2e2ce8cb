"""The command `vm-disks`, which is also `kubectl vm-disks`."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import click

from vm_disks.errors import VmDisksError

COMMANDS = (
    *("xml", "domain", "list", "check"),
    *("start", "console", "stop", "run"),
    *("attach", "detach", "grow", "migrate"),
    *("annotation", "completion"),
)


class Commands(click.Group):
    """Imports a command's module when it is called: `xml` does not wait for libvirt."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"vm_disks.commands.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        # So that what a start took is given back: the signals' own way ends the process at once.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # under nohup it is ignored, and stays so
                signal.signal(number, _exit)
        try:
            return super().invoke(ctx)
        except VmDisksError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
