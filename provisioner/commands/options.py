"""What all subcommands take, and the configuration that it leads to."""

from __future__ import annotations

from pathlib import Path

import click

from lundock_common import kubeconfig as kubeconfigs
from lundock_common import logs
from lundock_common.command_line import Command, kubeconfig_options
from lundock_common.kubernetes_api import Kube
from provisioner.settings import Settings
from provisioner.settings import load as load_settings

DEFAULT_CONFIG = "/etc/lundock/provisioner.yaml"


def cluster_options(command: Command) -> Command:
    """--config, --context and --kubeconfig."""
    config = click.option("--config", default=DEFAULT_CONFIG, show_default=True, help="The configuration file, YAML.")
    return config(kubeconfig_options(command))


def load(config: str, *, text_logs: bool) -> Settings:
    """The configuration, with logging set up: as it says, or for a person at a terminal.

    Raises:
        SettingsError: the file cannot be used.
    """
    loaded = load_settings(Path(config))
    if text_logs:
        logs.configure("warning", as_json=False)
    else:
        logs.configure(loaded.log.level, as_json=loaded.log.format == "json")
    return loaded


def connect(settings: Settings, kubeconfig: str | None, context: str | None) -> Kube:
    """The API server that the options mean.

    Raises:
        NoConfiguration: says what to do.
    """
    return Kube(kubeconfigs.find(kubeconfig, context).configuration, settings.kubernetes.pace)
