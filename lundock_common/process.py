"""Programs that run to their end, and daemons: argument lists, no shell, errors that say what was run.

A secret never goes into an argument list: anyone on the machine can read those (proc(5)).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

OBJECTION_EVERY_S = 0.5


class ProgramFailed(Exception):
    """A program ended badly, could not be started, or had to be stopped."""

    def __init__(self, argv: Sequence[str], exit_code: int | None, stderr: str) -> None:
        """The error of a program.

        Args:
            argv: the program and its arguments.
            exit_code: None for a program that was stopped.
            stderr: what it wrote there, or why it was stopped.
        """
        ending = "was stopped" if exit_code is None else f"ended with exit code {exit_code}"
        super().__init__(f"{argv[0]} {ending}: {stderr.strip() or 'it said nothing'}")
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = stderr


class ProgramMissing(ProgramFailed):
    """There is no such program, or it may not be run."""


@dataclass(frozen=True)
class Limits:
    """What a program may use at most; None is unlimited. Set by prlimit(1), so that it fails alone."""

    address_space_bytes: int | None = None
    file_size_bytes: int | None = None
    cpu_s: int | None = None

    def argv(self) -> list[str]:
        """What goes before the program's own arguments."""
        chosen = {"--as": self.address_space_bytes, "--fsize": self.file_size_bytes, "--cpu": self.cpu_s}
        options = [f"{option}={value}" for option, value in chosen.items() if value is not None]
        return ["prlimit", *options, "--"] if options else []


UNLIMITED = Limits()
_DYING_WITH_THREAD = ("setpriv", "--pdeathsig", "KILL", "--")
"""PR_SET_PDEATHSIG (prctl(2)) belongs to the calling *thread*: it must live as long as the program."""


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    limits: Limits = UNLIMITED,
    environment: Mapping[str, str] | None = None,
    dies_with_thread: bool = False,
    objection: Callable[[], str] = lambda: "",
) -> str:
    """Run a program to its end.

    Args:
        argv: the program and its arguments.
        timeout_s: after so many seconds it is killed.
        limits: what it may use.
        environment: added to ours.
        dies_with_thread: whether it is killed when the calling thread dies, and with it the whole of us.
        objection: asked twice a second while it runs; says why it has to be stopped, or "".

    Returns:
        Its stdout.

    Raises:
        ProgramMissing: it cannot be started.
        ProgramFailed: it ended with another exit code than 0, or was stopped.
    """
    try:
        process = subprocess.Popen(
            [*limits.argv(), *(_DYING_WITH_THREAD if dies_with_thread else ()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
    except OSError as error:
        raise ProgramMissing(argv, 127, f"cannot be started: {error.strerror}") from error
    with process:
        try:
            stdout, stderr = _read_to_end(process, argv, timeout_s, objection)
        except BaseException:  # a signal's handler that ends us, too: leaving the block waits for the program's end
            process.kill()
            raise
    if process.returncode != 0:
        raise ProgramFailed(argv, process.returncode, stderr.decode(errors="replace"))
    return stdout.decode(errors="replace")


def _read_to_end(
    process: subprocess.Popen[bytes], argv: Sequence[str], timeout_s: float, objection: Callable[[], str]
) -> tuple[bytes, bytes]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        patience_s = max(0.0, min(OBJECTION_EVERY_S, deadline_s - time.monotonic()))
        try:
            return process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired as error:
            late = time.monotonic() >= deadline_s
            reason = f"no end after {timeout_s:g} s" if late else objection()
            if reason:
                raise ProgramFailed(argv, None, reason) from error


def spawn(argv: Sequence[str], *, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a daemon that dies with the thread that started it, so that no orphan holds its port.

    Call this from a thread that lives as long as the program, and read the daemon's stderr, which is a pipe.

    Args:
        argv: the daemon and its arguments.
        environment: added to ours.

    Raises:
        ProgramMissing: it cannot be started.
    """
    try:
        return subprocess.Popen(
            [*_DYING_WITH_THREAD, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise ProgramMissing(argv, 127, f"cannot be started: {error.strerror}") from error
