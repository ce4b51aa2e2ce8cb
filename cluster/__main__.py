"""`python -m cluster`: the embedded Kubernetes by hand."""

from __future__ import annotations

import click

from cluster.errors import ClusterError
from lundock_common.command_line import CONTEXT, Program


class ClusterProgram(Program):
    commands_at = {  # noqa: RUF012 (ClassVar of Program)
        name: f"cluster.commands:{name}" for name in ("up", "down", "status", "load", "kubeconfig")
    }
    failures = (ClusterError,)


@click.group(cls=ClusterProgram, context_settings=CONTEXT, help=__doc__)
def main() -> None:
    pass


if __name__ == "__main__":
    main()
