"""`lundock-provisioner run`."""

from __future__ import annotations

import sys

import click

from lundock_common import kubeconfig as kubeconfigs
from provisioner import service
from provisioner.commands.options import cluster_options, load
from provisioner.settings import master_key


@click.command()
@cluster_options
def run(config: str, kubeconfig: str | None, context: str | None) -> None:
    """Watch claims and volumes, and keep the targets as they ask. SIGTERM stops it and releases the Lease.

    \b
    Example:
      lundock-provisioner run --config provisioner.yaml --kubeconfig ~/.kube/config
    """
    settings = load(config, text_logs=False)
    master_key(settings)
    sys.exit(service.run(kubeconfigs.find(kubeconfig, context).configuration, settings))
