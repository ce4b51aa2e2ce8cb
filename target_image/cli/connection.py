"""The API as the commands reach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from lundock_common.command_line import Failure
from target_image.api.client import TargetClient, TargetError

force_option = click.option("--force", is_flag=True, help="End live sessions first.")


@contextmanager
def connected(context: click.Context) -> Iterator[TargetClient]:
    """A client made of the group's options.

    Raises:
        Failure: for every TargetError of the block.
    """
    with TargetClient(**context.obj) as client:
        try:
            yield client
        except TargetError as error:
            raise Failure(str(error)) from error
