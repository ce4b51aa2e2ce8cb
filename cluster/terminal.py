"""What the walkthrough prints, and how it shows a console."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import CommandFailed, NotReady
from cluster.machine import shell

ESCAPES = re.compile(rb"\033(c|\[[0-9;?]*[A-Za-z])")
"""What a guest's firmware sends to clear and colour a screen: here it would clear the walkthrough."""


def say(line: str) -> None:
    print(line, flush=True)


def heading(number: str, text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    say(f"\n{bold}{number}. {text}{plain}")


def indented(text: str) -> None:
    for line in text.rstrip().splitlines():
        say(f"    {line}")


def follow(
    argv: Sequence[str], until: str, timeout_s: float, *, cwd: Path | None = None, ends_itself: bool = False
) -> None:
    """Run a command and show its output as it comes, until it has said `until`; then end it, unless it `ends_itself`.

    Raises:
        NotReady: the time is over.
        CommandFailed: it ended by itself before it said so.
    """
    with subprocess.Popen(
        [shell.find(argv[0]), *argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
    ) as process:
        try:
            seen = _read_until(process, until.encode(), timeout_s)
            if until.encode() not in seen:
                raise CommandFailed(argv, process.wait(), seen.decode(errors="replace"))
            say("")
            if ends_itself and process.wait(timeout=60) != 0:
                raise CommandFailed(argv, process.returncode, seen.decode(errors="replace"))
        finally:
            process.terminate()


def _split(output: bytes) -> tuple[bytes, bytes]:
    """What can be shown, and the beginning of an escape sequence whose end has not come yet."""
    start = output.rfind(b"\033")
    if start < 0 or ESCAPES.match(output, start) or len(output) - start > 16:
        return output, b""
    return output[:start], output[start:]


def _read_until(process: subprocess.Popen[bytes], until: bytes, timeout_s: float) -> bytes:
    assert process.stdout is not None  # noqa: S101 (PIPE was asked for)
    seen, dangling, deadline = b"", b"", time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while until not in seen:
            if not selector.select(timeout=max(0.0, deadline - time.monotonic())):
                raise NotReady(f"no {until.decode()!r} after {timeout_s:.0f} s; the output ends in {seen[-500:]!r}")
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            seen += chunk
            complete, dangling = _split(dangling + chunk)
            sys.stdout.buffer.write(ESCAPES.sub(b"", complete))
            sys.stdout.flush()
    return seen
