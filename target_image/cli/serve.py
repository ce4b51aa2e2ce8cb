"""`lundock-target serve`: one option for each of the agent's settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from lundock_common.command_line import Size
from target_image.agent.settings import Settings


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each field of Settings. What is not given is left to Settings: environment, then default."""
    kinds = get_type_hints(Settings)
    for name, field in reversed(Settings.model_fields.items()):
        command = _option(name, kinds[name], field.default, field.description or "")(command)
    return command


def _option(name: str, kind: Any, default: Any, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    flag, variable = f"--{name.replace('_', '-')}", f"LUNDOCK_{name.upper()}"
    several = get_origin(kind) is tuple
    shown = (", ".join(default) or "none") if several else default
    notes = [f"env var: {variable}"]
    if kind is not bool and default is not None:
        notes.append(f"default: {shown}")
    if kind is bool:
        flag = f"{flag}/--no-{name.replace('_', '-')}"
        notes.append(f"default: {flag.split('/')[0 if default else 1].removeprefix('--')}")
    common: dict[str, Any] = {"default": None, "help": f"{text}  [{'; '.join(notes)}]"}
    if kind is bool:
        return click.option(flag, **common)
    if get_origin(kind) is Literal:
        return click.option(flag, **common, type=click.Choice(get_args(kind)))
    if Path in (kind, *get_args(kind)):
        return click.option(flag, **common, type=click.Path(path_type=Path))
    if name.endswith("_bytes"):
        return click.option(flag, **common, type=Size())
    return click.option(flag, **common, type=str if several else kind, multiple=several)


@click.command()
@_settings_options
def serve(**chosen: Any) -> None:
    """Run the agent: the iSCSI engine, the API, the page, the metrics. SIGTERM stops it cleanly.

    \b
    Examples:
      lundock-target serve --data-dir /tmp/target --run-dir /tmp/target/run
      lundock-target serve --demo --api-port 0
    """
    from target_image.agent import lifecycle

    given = {name: value for name, value in chosen.items() if value not in (None, ())}
    lifecycle.run(Settings.load(**given))
