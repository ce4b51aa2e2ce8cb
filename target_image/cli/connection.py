"""The API as the commands reach it."""

from __future__ import annotations

import click

from target_image.api.client import TargetClient

force_option = click.option("--force", is_flag=True, help="End live sessions first.")


def connected(context: click.Context) -> TargetClient:
    """A client made of the group's options."""
    return TargetClient(**context.obj)
