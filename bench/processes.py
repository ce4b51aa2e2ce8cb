"""Programs that run for a while, and what they cost: the operating system's own accounting."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


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


def family(pid: int) -> list[int]:
    """A process, its children, and theirs: each thread has those that it started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = " ".join(task.read_text(encoding="utf-8") for task in tasks).split()
    return [pid, *(member for child in children for member in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """User and system time of a family."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """The sum of a family's peaks of resident memory."""
    return sum(_status(member, "VmHWM") for member in family(pid)) / 1024


def threads(pid: int) -> int:
    return sum(_status(member, "Threads") for member in family(pid))


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))
