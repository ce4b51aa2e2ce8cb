"""Programs that run for a while, and what they cost: the operating system's own accounting."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def started(name: str, argv: Sequence[str | Path], logs: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for a while; its output is added to a file in `logs`."""
    with (logs / f"{name}.log").open("ab") as log:
        command = [str(word) for word in argv]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process, its children, and theirs."""
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a family."""
    times = [member.cpu_times() for member in family(pid)]
    return sum(time.user + time.system for time in times)


def peak_mib(pid: int) -> float:
    """The sum of a family's peaks of resident memory."""
    return sum(_peak_kib(member.pid) for member in family(pid)) / 1024


def threads(pid: int) -> int:
    return sum(member.num_threads() for member in family(pid))


def _peak_kib(pid: int) -> int:
    """VmHWM of proc(5), which psutil does not have."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
