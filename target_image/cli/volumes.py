"""`lundock-target volumes`: disks, made, listed, grown, deleted."""

from __future__ import annotations

import click

from lundock_common.command_line import Size, output_option
from lundock_common.tables import Form
from target_image.api import requests
from target_image.cli.connection import connected
from target_image.cli.output import found, show, show_one


@click.group()
def volumes() -> None:
    """Disks: make, list, grow, delete."""


@volumes.command("list")
@output_option
@click.pass_context
def list_volumes(context: click.Context, output: Form) -> None:
    """Every volume.

    \b
    Examples:
      lundock-target volumes list
      lundock-target volumes list -o wide
    """
    with connected(context) as client:
        show(client.list_volumes(), output)


@volumes.command("get")
@click.argument("id")
@output_option
@click.pass_context
def get_volume(context: click.Context, id: str, output: Form) -> None:
    """One volume.

    \b
    Example:
      lundock-target volumes get disk-1 -o yaml
    """
    with connected(context) as client:
        show_one(found(client.get_volume(id), f"volume {id}"), output)


@volumes.command("create")
@click.argument("id")
@click.option("--size", "size_bytes", type=Size(), required=True, help="At least this large: 10Gi, 512M, 1T.")
@click.option("--image", help="Begin as a copy of this image.")
@click.option("--from", "origin", help="Begin as a copy of this volume.")
@click.option("--allow-in-use", is_flag=True, help="Copy even while the other volume is in use.")
@click.option("--thin/--thick", default=True, show_default=True, help="Sparse, or allocated at once.")
@output_option
@click.pass_context
def create_volume(
    context: click.Context,
    id: str,
    size_bytes: int,
    image: str | None,
    origin: str | None,
    allow_in_use: bool,
    thin: bool,
    output: Form,
) -> None:
    """Make a volume: empty, from an image or from another volume. Repeating it is harmless.

    \b
    Examples:
      lundock-target volumes create disk-1 --size 10Gi
      lundock-target volumes create root-1 --size 20Gi --image alpine
      lundock-target volumes create root-2 --size 20Gi --from root-1
    """
    if image and origin:
        raise click.UsageError("give --image or --from, not both")
    source: requests.Source = requests.EmptySource()
    if image:
        source = requests.ImageSource(image=image)
    elif origin:
        source = requests.VolumeSource(volume=origin, allow_in_use=allow_in_use)
    with connected(context) as client:
        show_one(client.ensure_volume(id, requests.VolumeSpec(size_bytes=size_bytes, source=source, thin=thin)), output)


@volumes.command("grow")
@click.argument("id")
@click.option("--size", "size_bytes", type=Size(), required=True, help="At least this large.")
@output_option
@click.pass_context
def grow_volume(context: click.Context, id: str, size_bytes: int, output: Form) -> None:
    """Make a volume larger.

    \b
    Example:
      lundock-target volumes grow disk-1 --size 20Gi
    """
    with connected(context) as client:
        show_one(client.grow_volume(id, size_bytes), output)


@volumes.command("delete")
@click.argument("ids", nargs=-1, required=True)
@click.pass_context
def delete_volumes(context: click.Context, ids: tuple[str, ...]) -> None:
    """Delete volumes and their data.

    \b
    Example:
      lundock-target volumes delete disk-1 disk-2
    """
    with connected(context) as client:
        for id in ids:
            client.delete_volume(id)


@volumes.command("trash")
@click.argument("id")
@output_option
@click.pass_context
def trash_volume(context: click.Context, id: str, output: Form) -> None:
    """Put a volume aside, data kept.

    \b
    Example:
      lundock-target volumes trash disk-1
    """
    with connected(context) as client:
        show_one(client.trash_volume(id), output)


@volumes.command("restore")
@click.argument("id")
@output_option
@click.pass_context
def restore_volume(context: click.Context, id: str, output: Form) -> None:
    """Take a volume out of the trash.

    \b
    Example:
      lundock-target volumes restore disk-1
    """
    with connected(context) as client:
        show_one(client.restore_volume(id), output)
