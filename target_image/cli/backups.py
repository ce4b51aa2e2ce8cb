"""`lundock-target backup` and `restore`."""

from __future__ import annotations

from pathlib import Path

import click

from target_image.agent.settings import Settings
from target_image.agent.state import backup as backups

data_dir_option = click.option(
    "--data-dir",
    envvar="LUNDOCK_DATA_DIR",
    type=click.Path(path_type=Path),
    default=Settings.model_fields["data_dir"].default,
    show_default=True,
    help=Settings.model_fields["data_dir"].description,
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@data_dir_option
def backup(folder: Path, data_dir: Path) -> None:
    """Copy the ledger and every volume into a new folder, while the agent is stopped.

    The ledger holds CHAP passwords in clear: keep the backup as safe as the target.

    \b
    Example:
      lundock-target backup /mnt/backup-1 --data-dir /tmp/target
    """
    copied = backups.backup(Settings.load(data_dir=data_dir), folder)
    click.echo(f"{copied} volumes and the ledger are in {folder}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@data_dir_option
def restore(folder: Path, data_dir: Path) -> None:
    """Bring a backup into an empty data folder; then start the agent on it.

    \b
    Example:
      lundock-target restore backup-1 --data-dir /tmp/target
    """
    copied = backups.restore(folder, Settings.load(data_dir=data_dir))
    click.echo(f"{copied} volumes and the ledger are in {data_dir}")
