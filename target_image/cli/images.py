"""`lundock-target images`: what volumes can begin as."""

from __future__ import annotations

import click

from lundock_common.command_line import output_option
from lundock_common.tables import Form
from target_image.api import fields, requests
from target_image.cli.connection import connected
from target_image.cli.output import parsed, show, show_one


@click.group()
def images() -> None:
    """Images that volumes can begin as."""


@images.command("list")
@output_option
@click.pass_context
def list_images(context: click.Context, output: Form) -> None:
    """Every image and how far it is.

    \b
    Example:
      lundock-target images list
    """
    with connected(context) as client:
        show(client.list_images(), output)


@images.command("add")
@click.argument("name")
@click.option("--image-url", "urls", multiple=True, required=True, help="Where it is; give several for mirrors.")
@click.option("--digest", required=True, help="sha256:… or sha512:… of the bytes at the URL.")
@click.option(
    "--format",
    "kind",
    type=click.Choice([kind.value for kind in fields.ImageFormat]),
    default="raw",
    show_default=True,
    help="What the bytes are, once unpacked.",
)
@output_option
@click.pass_context
def add_image(context: click.Context, name: str, urls: tuple[str, ...], digest: str, kind: str, output: Form) -> None:
    """Register an image and begin to fetch it.

    \b
    Example:
      lundock-target images add tiny --image-url https://example.org/tiny.img --digest sha256:…
    """
    spec = parsed(requests.ImageSpec, {"urls": list(urls), "digest": digest, "format": kind})
    with connected(context) as client:
        show_one(client.put_image(name, spec), output)


@images.command("delete")
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def delete_images(context: click.Context, names: tuple[str, ...]) -> None:
    """Forget images and their files.

    \b
    Example:
      lundock-target images delete tiny
    """
    with connected(context) as client:
        for name in names:
            client.delete_image(name)
