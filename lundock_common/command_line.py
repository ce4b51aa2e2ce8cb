"""The one convention of all our commands.

A subcommand's module is imported when it is asked for, so `--help` and the quick ones wait for nothing. How a
command ends:

    0   it did what was asked
    1   what was expected to go wrong did, as kubectl has it; or the answer is no, as with the commands `check`
    2   wrong usage, as click has it, or Unusable: a configuration or an input that has to change first

An error is one sentence on stderr, `error: …`; a traceback is a mistake of ours. Unusable are: of lundock-target the
agent's settings, of lundock-provisioner its configuration, a kubeconfig and manifests. vm-disks ends with 1 for its
files too: one answer names all that is wrong with the spec, the claims and the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, TypeVar

import click

from lundock_common import quantity
from lundock_common.tables import FORMS

Command = TypeVar("Command", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""The context settings of a program's group."""


class Subcommand(NamedTuple):
    """A subcommand of a program, which is imported when it is asked for."""

    at: str
    """`package.module:attribute`."""

    summary: str
    """The first sentence of its own help, for the program's: `--help` imports no subcommand."""


class Program(click.Group):
    """A program's group. A subclass names its subcommands and the errors that it expects."""

    subcommands: ClassVar[Mapping[str, Subcommand]]
    """By name, in the order of `--help`."""

    failures: ClassVar[tuple[type[Exception], ...]] = ()
    """Errors that are expected: a Failure, unless they are `unusable`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's)
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's)
        if cmd_name not in self.subcommands:
            return None
        module, _, attribute = self.subcommands[cmd_name].at.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's)
        """The section `Commands` of `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, subcommand.summary) for name, subcommand in self.subcommands.items()])

    def unusable(self) -> tuple[type[Exception], ...]:
        """Errors of the configuration or the input: Unusable. A method, so that `--help` need not import them."""
        return ()

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the program's own options."""
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            raise _misuse(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; `unusable` and `failures` end the program as the convention says."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _misuse(error) from error
        except self.unusable() as error:
            raise Unusable(str(error)) from error
        except self.failures as error:
            raise Failure(str(error)) from error


class Failure(click.ClickException):
    """Ends the program with `error: <message>` on stderr and exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print the message."""
        click.echo(f"error: {self.format_message()}", err=True, file=file)


class Unusable(Failure):
    """The same with exit code 2."""

    exit_code = 2


class Misuse(click.UsageError):
    """Wrong usage: click's error, with `error:` as our own have it."""

    def show(self, file: Any = None) -> None:
        """Print how the command is used, and the message."""
        if self.ctx is not None:
            click.echo(f"{self.ctx.get_usage()}\nTry '{self.ctx.command_path} --help' for help.\n", err=True, file=file)
        click.echo(f"error: {self.format_message()}", err=True, file=file)


def _misuse(error: click.UsageError) -> click.UsageError:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # it prints the help, and no error
        return error
    return Misuse(error.format_message(), error.ctx)


output_option = click.option(
    "-o", "--output", type=click.Choice(FORMS), default="table", show_default=True, help="How to print."
)
"""`-o`; the command gets a tables.Form as `output`."""


class Size(click.ParamType[int]):
    """An option that takes a size such as 10Gi and gives bytes."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes, or a usage error."""
        if isinstance(value, int):
            return value
        try:
            return quantity.parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def kubeconfig_options(command: Command) -> Command:
    """`--context` and `--kubeconfig`; the command gets them as `context` and `kubeconfig`, for kubeconfig.find."""
    named_file = "The kubeconfig to use instead of the pod's service account or $KUBECONFIG."
    command = click.option("--kubeconfig", type=click.Path(), metavar="FILE", help=named_file)(command)
    return click.option("--context", metavar="NAME", help="The kubeconfig context to use.")(command)


def filename_option(what: str) -> Callable[[Command], Command]:
    """`-f`, as kubectl's; the command gets a tuple of paths as `filenames`, for manifests.load.

    Args:
        what: a sentence that says what the files hold.
    """
    return click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        required=True,
        metavar="FILE",
        help=f"{what} May be repeated; a directory is its YAML and JSON files; - is standard input.",
    )
