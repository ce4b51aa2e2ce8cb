"""vm-disks completion"""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

KUBECTL = """#!/bin/sh
# kubectl asks the program kubectl_complete-PLUGIN for its candidates: put this file on the PATH under that name.
COMP_WORDS="vm-disks $*" COMP_CWORD=$# _VM_DISKS_COMPLETE=bash_complete vm-disks | sed 's/^[^,]*,//'
echo :4
"""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "kubectl"]))
@click.pass_context
def command(context: click.Context, /, shell: str) -> None:
    """Print what completes this command in a shell, or behind kubectl.

    \b
    Examples:
      eval "$(vm-disks completion bash)"
      vm-disks completion kubectl > ~/bin/kubectl_complete-vm_disks; chmod +x ~/bin/kubectl_complete-vm_disks
    """
    if shell == "kubectl":
        click.echo(KUBECTL, nl=False)
        return
    completion: Any = get_completion_class(shell)
    root = context.find_root().command
    click.echo(completion(root, {}, "vm-disks", "_VM_DISKS_COMPLETE").source())
