"""The only place of the agent that starts programs. Arguments are lists; no shell, no secret in an argv."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from target_image.agent.errors import CommandFailed

LOOK_S = 0.5


@dataclass(frozen=True)
class Limits:
    """What a program may use at most; None is unlimited. Set by prlimit(1), so that it fails alone."""

    address_space_bytes: int | None = None
    file_size_bytes: int | None = None
    cpu_s: int | None = None

    def argv(self) -> list[str]:
        chosen = {"--as": self.address_space_bytes, "--fsize": self.file_size_bytes, "--cpu": self.cpu_s}
        options = [f"{option}={value}" for option, value in chosen.items() if value is not None]
        return ["prlimit", *options, "--"] if options else []


UNLIMITED = Limits()


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    limits: Limits = UNLIMITED,
    objection: Callable[[], str] = lambda: "",
) -> str:
    """Run a program to its end and give its stdout. Raises CommandFailed with exit code and stderr.

    `objection` is asked twice a second while it runs, and says why it has to be stopped, or "".
    """
    try:
        process = subprocess.Popen(
            [*limits.argv(), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise CommandFailed(argv, 127, f"cannot be started: {error.strerror}") from error
    deadline_s = time.monotonic() + timeout_s
    with process:
        while True:
            try:
                stdout, stderr = process.communicate(timeout=max(0.0, min(LOOK_S, deadline_s - time.monotonic())))
                break
            except subprocess.TimeoutExpired as error:
                late = time.monotonic() >= deadline_s
                reason = f"no end after {timeout_s:g} s" if late else objection()
                if reason:
                    process.kill()
                    raise CommandFailed(argv, None, reason) from error
    if process.returncode != 0:
        raise CommandFailed(argv, process.returncode, stderr.decode(errors="replace"))
    return stdout.decode(errors="replace")


def spawn(argv: Sequence[str], *, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a daemon that dies with the thread that started it, so that no orphan holds its port.

    PR_SET_PDEATHSIG (prctl(2)) is set by setpriv(1) and belongs to the calling *thread*: call this from
    one that lives as long as the agent. Its stderr is a pipe that the caller has to read.
    """
    try:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise CommandFailed(argv, 127, f"cannot be started: {error.strerror}") from error
