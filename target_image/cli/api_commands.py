"""`lundock-target volumes|exports|images|sessions|status`: commands for people on the agent's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from target_image.api import fields, requests
from target_image.api.client import TargetClient, TargetError
from target_image.cli import output
from target_image.cli.sizes import Size

output_option = click.option(
    "-o", "--output", "form", type=click.Choice(output.FORMS), default="table", show_default=True, help="How to print."
)
force_option = click.option("--force", is_flag=True, help="End live sessions first.")


@contextmanager
def _client(context: click.Context) -> Iterator[TargetClient]:
    """A client whose errors become a sentence and exit code 1."""
    with context.obj() as client:
        try:
            yield client
        except TargetError as error:
            raise click.ClickException(str(error)) from error


@click.group()
def volumes() -> None:
    """Disks: make, list, grow, delete."""


@volumes.command("list")
@output_option
@click.pass_context
def list_volumes(context: click.Context, form: output.Form) -> None:
    """Every volume."""
    with _client(context) as client:
        output.show(client.list_volumes(), form)


@volumes.command("get")
@click.argument("id")
@output_option
@click.pass_context
def get_volume(context: click.Context, id: str, form: output.Form) -> None:
    """One volume."""
    with _client(context) as client:
        output.show_one(output.found(client.get_volume(id), f"volume {id}"), form)


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
    form: output.Form,
) -> None:
    """Make a volume: empty, from an image or from another volume. Repeating it is harmless."""
    if image and origin:
        raise click.UsageError("give --image or --from, not both")
    source: requests.Source = requests.EmptySource()
    if image:
        source = requests.ImageSource(image=image)
    elif origin:
        source = requests.VolumeSource(volume=origin, allow_in_use=allow_in_use)
    with _client(context) as client:
        output.show_one(
            client.ensure_volume(id, requests.VolumeSpec(size_bytes=size_bytes, source=source, thin=thin)), form
        )


@volumes.command("grow")
@click.argument("id")
@click.option("--size", "size_bytes", type=Size(), required=True, help="At least this large.")
@output_option
@click.pass_context
def grow_volume(context: click.Context, id: str, size_bytes: int, form: output.Form) -> None:
    """Make a volume larger."""
    with _client(context) as client:
        output.show_one(client.grow_volume(id, size_bytes), form)


@volumes.command("delete")
@click.argument("ids", nargs=-1, required=True)
@click.pass_context
def delete_volumes(context: click.Context, ids: tuple[str, ...]) -> None:
    """Delete volumes and their data."""
    with _client(context) as client:
        for id in ids:
            client.delete_volume(id)


@volumes.command("trash")
@click.argument("id")
@output_option
@click.pass_context
def trash_volume(context: click.Context, id: str, form: output.Form) -> None:
    """Put a volume aside, data kept."""
    with _client(context) as client:
        output.show_one(client.trash_volume(id), form)


@volumes.command("restore")
@click.argument("id")
@output_option
@click.pass_context
def restore_volume(context: click.Context, id: str, form: output.Form) -> None:
    """Take a volume out of the trash."""
    with _client(context) as client:
        output.show_one(client.restore_volume(id), form)


@click.group()
def exports() -> None:
    """iSCSI targets: serve volumes, see them, stop."""


@exports.command("list")
@output_option
@click.pass_context
def list_exports(context: click.Context, form: output.Form) -> None:
    """Every export."""
    with _client(context) as client:
        output.show(client.list_exports(), form)


@exports.command("get")
@click.argument("id")
@output_option
@click.pass_context
def get_export(context: click.Context, id: str, form: output.Form) -> None:
    """One export."""
    with _client(context) as client:
        output.show_one(output.found(client.get_export(id), f"export {id}"), form)


@exports.command("create")
@click.argument("id")
@click.option("--volume", "volume_ids", multiple=True, required=True, help="A volume; the first is LUN 1, and so on.")
@click.option("--read-only", is_flag=True, help="Serve every LUN read-only.")
@click.option("--iqn", help="Another IQN than the one made of the id.")
@click.option("--initiator", "initiators", multiple=True, help="An initiator's IQN that may log in.")
@click.option("--network", "networks", multiple=True, help="An address or network that may log in.")
@click.option("--chap-user", help="CHAP user name; the password is read from --chap-password-file.")
@click.option("--chap-password-file", type=click.File(), help="File with the CHAP password, - for stdin.")
@click.option("--change", is_flag=True, help="Change an export that exists.")
@force_option
@output_option
@click.pass_context
def create_export(
    context: click.Context,
    id: str,
    volume_ids: tuple[str, ...],
    read_only: bool,
    iqn: str | None,
    initiators: tuple[str, ...],
    networks: tuple[str, ...],
    chap_user: str | None,
    chap_password_file: Any,
    change: bool,
    force: bool,
    form: output.Form,
) -> None:
    """Serve volumes as the LUNs of one target. A password never goes on the command line."""
    if bool(chap_user) != bool(chap_password_file):
        raise click.UsageError("--chap-user and --chap-password-file go together")
    content: dict[str, Any] = {
        "iqn": iqn,
        "luns": [
            {"lun": number, "volume": volume, "read_only": read_only} for number, volume in enumerate(volume_ids, 1)
        ],
        "access": {"initiators": list(initiators), "networks": list(networks)},
    }
    if chap_user:
        content["chap"] = {"username": chap_user, "password": chap_password_file.read().strip()}
    spec = output.parsed(requests.ExportSpec, content)
    with _client(context) as client:
        done = client.change_export(id, spec, force=force) if change else client.ensure_export(id, spec)
        output.show_one(done, form)


@exports.command("delete")
@click.argument("ids", nargs=-1, required=True)
@force_option
@click.pass_context
def delete_exports(context: click.Context, ids: tuple[str, ...], force: bool) -> None:
    """Stop serving; the volumes stay."""
    with _client(context) as client:
        for id in ids:
            client.delete_export(id, force=force)


@click.group()
def images() -> None:
    """Images that volumes can begin as."""


@images.command("list")
@output_option
@click.pass_context
def list_images(context: click.Context, form: output.Form) -> None:
    """Every image and how far it is."""
    with _client(context) as client:
        output.show(client.list_images(), form)


@images.command("add")
@click.argument("name")
@click.option("--image-url", "urls", multiple=True, required=True, help="Where it is; give several for mirrors.")
@click.option("--digest", required=True, help="sha256:… or sha512:… of the bytes at the URL.")
@click.option("--format", "kind", type=click.Choice([kind.value for kind in fields.ImageFormat]), default="raw")
@output_option
@click.pass_context
def add_image(
    context: click.Context, name: str, urls: tuple[str, ...], digest: str, kind: str, form: output.Form
) -> None:
    """Register an image and begin to fetch it."""
    spec = output.parsed(requests.ImageSpec, {"urls": list(urls), "digest": digest, "format": kind})
    with _client(context) as client:
        output.show_one(client.put_image(name, spec), form)


@images.command("delete")
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def delete_images(context: click.Context, names: tuple[str, ...]) -> None:
    """Forget images and their files."""
    with _client(context) as client:
        for name in names:
            client.delete_image(name)


@click.group()
def sessions() -> None:
    """Who is logged in."""


@sessions.command("list")
@output_option
@click.pass_context
def list_sessions(context: click.Context, form: output.Form) -> None:
    """Every live session."""
    with _client(context) as client:
        output.show(client.sessions(), form)


@sessions.command("end")
@click.argument("export")
@click.argument("session", type=int)
@click.pass_context
def end_session(context: click.Context, export: str, session: int) -> None:
    """End one session. An initiator that may log in will come back."""
    with _client(context) as client:
        client.end_session(export, session)


@click.command()
@output_option
@click.pass_context
def status(context: click.Context, form: output.Form) -> None:
    """What the target can do and how full it is."""
    with _client(context) as client:
        output.show_fields({"capabilities": client.capabilities(), "capacity": client.capacity()}, form)


COMMANDS = (volumes, exports, images, sessions, status)
