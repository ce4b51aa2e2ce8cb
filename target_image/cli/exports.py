"""`lundock-target exports`: volumes served as the LUNs of iSCSI targets."""

from __future__ import annotations

from typing import Any

import click

from lundock_common.command_line import output_option
from lundock_common.tables import Form
from target_image.api import requests
from target_image.cli.connection import connected, force_option
from target_image.cli.output import found, parsed, show, show_one


@click.group()
def exports() -> None:
    """iSCSI targets: serve volumes, see them, stop."""


@exports.command("list")
@output_option
@click.pass_context
def list_exports(context: click.Context, output: Form) -> None:
    """Every export.

    \b
    Example:
      lundock-target exports list
    """
    with connected(context) as client:
        show(client.list_exports(), output)


@exports.command("get")
@click.argument("id")
@output_option
@click.pass_context
def get_export(context: click.Context, id: str, output: Form) -> None:
    """One export.

    \b
    Example:
      lundock-target exports get disk-1 -o json
    """
    with connected(context) as client:
        show_one(found(client.get_export(id), f"export {id}"), output)


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
    output: Form,
) -> None:
    """Serve volumes as the LUNs of one target. A password never goes on the command line.

    \b
    Examples:
      lundock-target exports create disk-1 --volume disk-1 --network 10.0.0.0/8
      lundock-target exports create disk-1 --volume disk-1 --chap-user disk-1 --chap-password-file chap.txt
      lundock-target exports create disk-1 --volume disk-1 --volume disk-2 --change --force
    """
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
    spec = parsed(requests.ExportSpec, content)
    with connected(context) as client:
        done = client.change_export(id, spec, force=force) if change else client.ensure_export(id, spec)
        show_one(done, output)


@exports.command("delete")
@click.argument("ids", nargs=-1, required=True)
@force_option
@click.pass_context
def delete_exports(context: click.Context, ids: tuple[str, ...], force: bool) -> None:
    """Stop serving; the volumes stay.

    \b
    Example:
      lundock-target exports delete disk-1
    """
    with connected(context) as client:
        for id in ids:
            client.delete_export(id, force=force)
