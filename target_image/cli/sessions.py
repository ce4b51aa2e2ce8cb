"""`lundock-target sessions`: who is logged in."""

from __future__ import annotations

import click

from lundock_common.command_line import output_option
from lundock_common.tables import Form
from target_image.cli.connection import connected
from target_image.cli.output import show


@click.group()
def sessions() -> None:
    """Who is logged in."""


@sessions.command("list")
@output_option
@click.pass_context
def list_sessions(context: click.Context, output: Form) -> None:
    """Every live session.

    \b
    Example:
      lundock-target sessions list
    """
    with connected(context) as client:
        show(client.sessions(), output)


@sessions.command("end")
@click.argument("export")
@click.argument("session", type=int)
@click.pass_context
def end_session(context: click.Context, export: str, session: int) -> None:
    """End one session. An initiator that may log in will come back.

    \b
    Example:
      lundock-target sessions end disk-1 1
    """
    with connected(context) as client:
        client.end_session(export, session)
