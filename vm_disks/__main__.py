"""The command `vm-disks`, which is also `kubectl vm-disks`."""

from __future__ import annotations

import signal
import sys

import click

from lundock_common.command_line import CONTEXT, Program
from vm_disks.errors import VmDisksError

NAMES = (
    *("xml", "domain", "list", "check"),
    *("start", "console", "stop", "run"),
    *("attach", "detach", "grow", "migrate"),
    *("annotation", "completion"),
)


class VmDisks(Program):
    """`xml` does not wait for libvirt."""

    commands_at = {name: f"vm_disks.commands.{name}:command" for name in NAMES}  # noqa: RUF012 (ClassVar of Program)
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
