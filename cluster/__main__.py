"""`python -m cluster`: the embedded Kubernetes by hand."""

from __future__ import annotations

import click

from cluster.errors import ClusterError
from lundock_common.command_line import CONTEXT, Program, Subcommand


class ClusterProgram(Program):
    subcommands = {  # noqa: RUF012 (ClassVar of Program)
        "up": Subcommand(
            "cluster.commands:up", "Build what is missing, start what does not run, and say how to use it."
        ),
        "down": Subcommand(
            "cluster.commands:down",
            "Stop everything and remove its traces; the built binaries and the images stay in the cache.",
        ),
        "status": Subcommand("cluster.commands:status", "Say what runs."),
        "load": Subcommand("cluster.commands:load", "Copy images from Docker to the node."),
        "kubeconfig": Subcommand("cluster.commands:kubeconfig", "Print the path of the administrator's kubeconfig."),
    }
    failures = (ClusterError,)


@click.group(cls=ClusterProgram, context_settings=CONTEXT, help=__doc__)
def main() -> None:
    pass


if __name__ == "__main__":
    main()
