"""`lundock-target`: the agent itself (`serve`), its backup, and below it the commands on its API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click

from target_image.agent.errors import AgentError, SettingsError
from target_image.agent.settings import Settings, field_help
from target_image.agent.state import backup as backups
from target_image.cli.sizes import Size

if TYPE_CHECKING:
    from target_image.api.client import TargetClient


class Commands(click.Group):
    """Those of the API are imported when one is asked for: without them and their tables `serve` starts sooner."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._of_the_api()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._of_the_api().get(cmd_name)

    def _of_the_api(self) -> dict[str, click.Command]:
        from target_image.cli.api_commands import COMMANDS

        return {str(command.name): command for command in COMMANDS}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--url",
    envvar="LUNDOCK_URL",
    show_envvar=True,
    default="http://127.0.0.1:8081",
    show_default=True,
    help="The API.",
)
@click.option(
    "--token-file",
    envvar="LUNDOCK_TOKEN_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="File with the API's token.",
)
@click.option(
    "--ca-file",
    envvar="LUNDOCK_CA_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="CA of the API's certificate.",
)
@click.option("--timeout", "timeout_s", default=10.0, show_default=True, help="Seconds to wait for an answer.")
@click.pass_context
def main(context: click.Context, url: str, token_file: Path | None, ca_file: Path | None, timeout_s: float) -> None:
    """An iSCSI target in user space, with an HTTP API.

    \b
    Run one:            lundock-target serve --data-dir /tmp/target
    Make a disk:        lundock-target volumes create disk-1 --size 10Gi
    Serve it:           lundock-target exports create disk-1 --volume disk-1
    See who uses it:    lundock-target sessions list
    """

    def client() -> TargetClient:
        from target_image.api.client import TargetClient

        return TargetClient(url, token_file=token_file, ca_file=ca_file, timeout_s=timeout_s)

    context.obj = client


# -- serve -----------------------------------------------------------------------------------------------


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


@main.command()
@_settings_options
def serve(**chosen: Any) -> None:
    """Run the agent: the iSCSI engine, the API, the page, the metrics. SIGTERM stops it cleanly."""
    from target_image.agent import process

    try:
        process.run(Settings(**chosen))
    except SettingsError as error:
        raise click.UsageError(error.detail) from error
    except AgentError as error:
        print(f"lundock-target: {error.detail}", file=sys.stderr)
        sys.exit(1)


data_dir_option = click.option(
    "--data-dir",
    envvar="LUNDOCK_DATA_DIR",
    type=click.Path(path_type=Path),
    default=Settings.data_dir,
    show_default=True,
    help=field_help()["data_dir"],
)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@data_dir_option
def backup(folder: Path, data_dir: Path) -> None:
    """Copy the ledger and every volume into a new folder, while the agent is stopped.

    The ledger holds CHAP passwords in clear: keep the backup as safe as the target.
    """
    with _agent_errors():
        click.echo(f"{backups.backup(data_dir, folder)} volumes and the ledger are in {folder}")


@main.command("restore")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@data_dir_option
def restore_backup(folder: Path, data_dir: Path) -> None:
    """Bring a backup into an empty data folder; then start the agent on it."""
    with _agent_errors():
        click.echo(f"{backups.restore(folder, data_dir)} volumes and the ledger are in {data_dir}")


@contextmanager
def _agent_errors() -> Iterator[None]:
    try:
        yield
    except AgentError as error:
        raise click.ClickException(error.detail) from error
