"""`lundock-target`: the agent itself (`serve`), its backup, and commands on its API."""

from __future__ import annotations

from pathlib import Path

import click

from lundock_common.command_line import CONTEXT, Program, Subcommand
from target_image.api.failures import ExpectedError


class LundockTarget(Program):
    """Without the API's commands and their tables `serve` starts sooner."""

    subcommands = {  # noqa: RUF012 (ClassVar of Program)
        "serve": Subcommand(
            "target_image.cli.serve:serve",
            "Run the agent: the iSCSI engine, the API, the page, the metrics.",
        ),
        "status": Subcommand("target_image.cli.status:status", "What the target can do and how full it is."),
        "volumes": Subcommand("target_image.cli.volumes:volumes", "Disks: make, list, grow, delete."),
        "exports": Subcommand("target_image.cli.exports:exports", "iSCSI targets: serve volumes, see them, stop."),
        "images": Subcommand("target_image.cli.images:images", "Images that volumes can begin as."),
        "sessions": Subcommand("target_image.cli.sessions:sessions", "Who is logged in."),
        "backup": Subcommand(
            "target_image.cli.backups:backup",
            "Copy the ledger and every volume into a new folder, while the agent is stopped.",
        ),
        "restore": Subcommand(
            "target_image.cli.backups:restore",
            "Bring a backup into an empty data folder; then start the agent on it.",
        ),
    }
    failures = (ExpectedError,)

    def unusable(self) -> tuple[type[Exception], ...]:
        from target_image.agent.errors import SettingsError

        return (SettingsError,)


@click.group(cls=LundockTarget, context_settings=CONTEXT)
@click.version_option(package_name="lundock")
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
    Examples:
      lundock-target serve --data-dir /tmp/target                run a target
      lundock-target volumes create disk-1 --size 10Gi           make a disk
      lundock-target exports create disk-1 --volume disk-1       serve it
      lundock-target sessions list                               see who uses it
    """
    context.obj = {"base_url": url, "token_file": token_file, "ca_file": ca_file, "timeout_s": timeout_s}
