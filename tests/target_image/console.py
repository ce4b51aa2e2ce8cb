"""A VM's serial console, read until a prompt shows."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence

LOGIN_TIMEOUT_S = 240.0
"""Seconds, on two busy cores without KVM; an idle machine takes about 8."""


def boot_to_login(argv: Sequence[str]) -> str:
    """Run a QEMU whose console is its stdout until `login:`; give what it printed. QEMU is ended."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            return read_until(process, "login:")
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], text: str, timeout_s: float = LOGIN_TIMEOUT_S) -> str:
    """What the process prints up to this text; fails with what it printed instead."""
    assert process.stdout is not None
    deadline, seen = time.monotonic() + timeout_s, ""
    while text not in seen:
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 65536) if readable else b""
        assert chunk, f"no {text!r} in {timeout_s:g} s or before the end: {seen[-2000:]}"
        seen += chunk.decode(errors="replace")
    return seen
