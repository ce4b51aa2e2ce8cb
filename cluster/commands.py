"""The subcommands of `python -m cluster`."""

from __future__ import annotations

import sys

import click

from cluster import embedded
from cluster.components.control_plane import sweep
from lundock_common import tables


def say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
def up() -> None:
    """Build what is missing, start what does not run, and say how to use it."""
    cluster = embedded.cluster(say)
    cluster.up(say)
    cluster.keep()
    click.echo(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.binaries.folder}:$PATH")


@click.command()
def down() -> None:
    """Stop everything and remove its traces; the built binaries and the images stay in the cache."""
    sweep()
    embedded.existing().down()


@click.command()
def status() -> None:
    """Say what runs. Exit code 1 when the cluster is not up."""
    cluster = embedded.existing()
    rows = [(name, "running" if pid else "not running", pid) for name, pid in cluster.processes().items()]
    click.echo(tables.render(("component", "state", "process"), rows))
    if not cluster.is_up():
        sys.exit(1)
    click.echo(f"kubeconfig: {cluster.kubeconfig}")
    click.echo(f"logs:       {cluster.places.logs}")
    click.echo(cluster.kubectl("get", "nodes,pods", "--all-namespaces"))
    click.echo(tables.render(("image",), [(name,) for name in sorted(cluster.containers.images())]))


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def load(images: tuple[str, ...]) -> None:
    """Copy images from Docker to the node. Our own (lundock/...) are built first when their sources have changed."""
    cluster = embedded.existing()
    for image in images:
        if not cluster.load(image, say):
            say(f"the cluster has this {image} already")


@click.command()
def kubeconfig() -> None:
    """Print the path of the administrator's kubeconfig."""
    click.echo(embedded.existing().kubeconfig)
