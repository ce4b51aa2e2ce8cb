"""`lundock-target serve`: one option for each of the agent's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from lundock_common.command_line import Failure, Size, Unusable
from target_image.agent.errors import AgentError, SettingsError
from target_image.agent.settings import Settings, field_help


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each field of Settings; the docstring below the field is the help."""
    kinds = get_type_hints(Settings)
    for field in reversed(fields(Settings)):
        command = _option(field.name, kinds[field.name], field.default)(command)
    return command


def _option(name: str, kind: Any, default: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    flag, envvar = f"--{name.replace('_', '-')}", f"LUNDOCK_{name.upper()}"
    common: dict[str, Any] = {"default": default, "envvar": envvar, "show_envvar": True, "help": field_help()[name]}
    if kind is bool:
        return click.option(f"{flag}/--no-{name.replace('_', '-')}", **common, show_default=True)
    if get_origin(kind) is tuple:
        return click.option(flag, **common, multiple=True, show_default=", ".join(default) or "none")
    if get_origin(kind) is Literal:
        return click.option(flag, **common, type=click.Choice(get_args(kind)), show_default=True)
    if Path in (kind, *get_args(kind)):
        return click.option(flag, **common, type=click.Path(path_type=Path), show_default=default is not None)
    if name.endswith("_bytes"):
        return click.option(flag, **common, type=Size(), show_default=True)
    return click.option(flag, **common, type=kind, show_default=True)


@click.command()
@_settings_options
def serve(**chosen: Any) -> None:
    """Run the agent: the iSCSI engine, the API, the page, the metrics. SIGTERM stops it cleanly."""
    from target_image.agent import process

    try:
        process.run(Settings(**chosen))
    except SettingsError as error:
        raise Unusable(error.detail) from error
    except AgentError as error:
        raise Failure(error.detail) from error
