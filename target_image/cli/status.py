"""`lundock-target status`: what the target can do and how full it is."""

from __future__ import annotations

import click

from lundock_common.command_line import output_option
from lundock_common.tables import Form
from target_image.cli.connection import connected
from target_image.cli.output import show_fields


@click.command()
@output_option
@click.pass_context
def status(context: click.Context, output: Form) -> None:
    """What the target can do and how full it is.

    \b
    Examples:
      lundock-target status
      lundock-target --url https://target:8081 --token-file token --ca-file ca.pem status
    """
    with connected(context) as client:
        show_fields({"capabilities": client.capabilities(), "capacity": client.capacity()}, output)
