"""The --help of every command of ours: each says what it does, explains its options, and has an example that works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cluster.__main__ import main as cluster
from lundock_common.command_line import Program
from provisioner.__main__ import main as lundock_provisioner
from target_image.cli.main import main as lundock_target
from vm_disks.__main__ import main as vm_disks

PROGRAMS = {"lundock-target": lundock_target, "lundock-provisioner": lundock_provisioner, "vm-disks": vm_disks}
CommandPath = tuple[str, ...]


def walk(command: click.Command, path: CommandPath) -> Iterator[tuple[CommandPath, click.Command]]:
    """The command and everything below it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


COMMANDS = dict(entry for name, program in PROGRAMS.items() for entry in walk(program, (name,)))
PARAMETERS = [pytest.param(path, id=" ".join(path)) for path in COMMANDS]


def shown(path: CommandPath) -> str:
    """What --help prints."""
    command = COMMANDS[path]
    context = click.Context(command, info_name=path[-1], terminal_width=200, max_content_width=200)
    return command.get_help(context)


def examples(path: CommandPath) -> list[list[str]]:
    """The arguments of each call of our own program below `Example:` or `Examples:`, as a shell splits them."""
    after = re.split(r"^ *Examples?:\n", shown(path), maxsplit=1, flags=re.MULTILINE)[1:]
    block = after[0].partition("\n\n")[0] if after else ""
    return [call for line in block.splitlines() for call in calls(line.strip(), path[0])]


def calls(line: str, program: str) -> Iterator[list[str]]:
    """The calls of a program in a shell line; what follows two blanks is a remark."""
    line = re.sub(r'"\$\((.*)\)"', r"; \1", re.split(r" {2,}", line)[0])
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;>&")
    lexer.commenters, lexer.whitespace_split = "", True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word[0] not in "|;>&":
            words.append(word)
            continue
        if words[:2] == ["kubectl", program.replace("lundock-", "")]:
            words = words[1:]
        if words and words[0] == program:
            yield words[1:]
        words = [] if word[0] != ">" else ["(a file, not a call)"]


def parse(command: click.Command, name: str, arguments: list[str], parent: click.Context | None = None) -> CommandPath:
    """Let the command's own parser read the arguments; gives the command that would run, which does not."""
    with command.make_context(name, list(arguments), parent=parent) as context:
        if not isinstance(command, click.Group):
            return (name,)
        below_name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert below_name is not None
        assert below is not None
        return (name, *parse(below, below_name, rest, context))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder and the home of whoever types the examples: the files that they name exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def make_named_files(arguments: list[str], folder: Path) -> list[str]:
    """Make each file that an example names, in the folder; gives the arguments as a shell would expand them."""
    expanded = [re.sub(r"^~", str(folder), argument) for argument in arguments]
    for argument in expanded:
        path = folder / argument
        if path.is_relative_to(folder) and re.search(r"\.(yaml|xml|txt)$|/config$|^backup", argument):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return expanded


def test_there_are_commands_to_look_at() -> None:
    assert {path[0] for path in COMMANDS} == set(PROGRAMS)
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_command_says_in_a_sentence_what_it_does(path: CommandPath) -> None:
    text = COMMANDS[path].help or ""
    summary = re.sub(r"\s+", " ", text.partition("\n\n")[0])
    assert re.match(r"^[A-Zi`].*\.$", summary), summary
    assert len(summary.split()) > 1


@pytest.mark.parametrize("program", [*PROGRAMS.values(), cluster], ids=[*PROGRAMS, "cluster"])
def test_the_help_of_a_program_says_of_a_command_what_the_command_says(program: click.Command) -> None:
    assert isinstance(program, Program)
    context = click.Context(program)
    for name, subcommand in program.subcommands.items():
        command = program.get_command(context, name)
        assert command is not None
        assert re.sub(r"\s+", " ", str(command.help)).startswith(subcommand.summary)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_help_waits_for_nothing_that_a_command_needs(program: click.Command) -> None:
    """Each of these takes longer to import than the rest of `--help`."""
    script = f"""
import sys
from {program.callback.__module__} import main
try:
    main(["--help"])
except SystemExit:
    print({{"fastapi", "kubernetes", "libvirt", "pydantic", "rich", "urllib3", "yaml"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "arguments",
    [["--no-such"], ["nothing"], ["volumes", "create"], ["volumes", "create", "a", "--size", "?"], ["serve", "x"]],
)
def test_wrong_usage_is_an_error_like_the_others(arguments: list[str]) -> None:
    done = CliRunner().invoke(lundock_target, arguments)
    usage, hint, *_, message = done.stderr.splitlines()
    assert (done.exit_code, usage[:7]) == (2, "Usage: ")
    assert re.fullmatch(r"Try '.* --help' for help\.", hint)
    assert message.startswith("error: ")


def test_a_program_without_arguments_shows_its_help() -> None:
    done = CliRunner().invoke(lundock_target, [])
    assert done.output == CliRunner().invoke(lundock_target, ["--help"]).output


@pytest.mark.parametrize("path", PARAMETERS)
def test_every_option_is_explained(path: CommandPath) -> None:
    options = [option for option in COMMANDS[path].params if isinstance(option, click.Option)]
    assert [option.opts for option in options if not option.help] == []


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_command_has_an_example_that_its_parser_accepts(path: CommandPath, folder: Path) -> None:
    command = COMMANDS[path]
    found = examples(path)
    if isinstance(command, click.Group) and len(path) > 1:
        assert len(list(walk(command, path))) > 1  # its commands have the examples
        return
    assert found, "no example"
    for arguments in found:
        reached = parse(PROGRAMS[path[0]], path[0], make_named_files(arguments, folder))
        assert reached[: len(path)] == path, arguments


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vm-disks xml -f vm.yaml      what it prints", [["xml", "-f", "vm.yaml"]]),
        ("virsh dumpxml vm | vm-disks domain --into - > a.xml", [["domain", "--into", "-"]]),
        ("echo x | vm-disks console --until '# '", [["console", "--until", "# "]]),
        ('eval "$(vm-disks completion bash)"', [["completion", "bash"]]),
        ("kubectl vm-disks stop", [["stop"]]),
        ("virsh list", []),
    ],
)
def test_calls_are_found_in_a_shell_line(line: str, expected: list[list[str]]) -> None:
    assert list(calls(line, "vm-disks")) == expected


@pytest.mark.parametrize(
    "arguments", [["volumes", "create", "a"], ["volumes", "make", "a"], ["volumes", "list", "--no"], ["serve", "x"]]
)
def test_a_wrong_example_would_be_found(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(lundock_target, "lundock-target", arguments)
