"""A program that is run ends with the call, however the call ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lundock_common import process
from lundock_common.process import Limits, ProgramFailed, ProgramMissing
from tests.waiting import eventually

LONG = ("sleep", "1000")


def sleepers(parent: int) -> list[int]:
    """The processes of LONG that this process has started and that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if line.split()[1:] == list(LONG)]


def test_what_it_writes_is_returned_and_what_it_complains_of_is_told() -> None:
    assert process.run(["echo", "hello"], timeout_s=60) == "hello\n"
    assert process.run(["sh", "-c", "echo $COLOUR"], timeout_s=60, environment={"COLOUR": "red"}) == "red\n"
    with pytest.raises(ProgramFailed, match="sh ended with exit code 3: no such colour") as failed:
        process.run(["sh", "-c", "echo no such colour >&2; exit 3"], timeout_s=60)
    assert failed.value.exit_code == 3
    with pytest.raises(ProgramMissing, match="no-such-program"):
        process.run(["no-such-program"], timeout_s=60)


def test_more_than_its_limits_fails_it_alone(tmp_path: Path) -> None:
    argv = ["dd", "if=/dev/zero", f"of={tmp_path / 'file'}", "bs=4096", "count=10"]
    with pytest.raises(ProgramFailed):
        process.run(argv, timeout_s=60, limits=Limits(file_size_bytes=8192))


def test_it_is_stopped_when_it_takes_too_long_and_when_somebody_objects() -> None:
    with pytest.raises(ProgramFailed, match=r"sleep was stopped: no end after 0\.1 s"):
        process.run(LONG, timeout_s=0.1)
    with pytest.raises(ProgramFailed, match="sleep was stopped: the disk is full"):
        process.run(LONG, timeout_s=60, objection=lambda: "the disk is full")
    assert not sleepers(os.getpid())


def test_it_does_not_outlive_an_error_of_ours() -> None:
    def objection() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        process.run(LONG, timeout_s=600, objection=objection)
    assert not sleepers(os.getpid())


def test_it_does_not_hold_up_a_signal_that_ends_us() -> None:
    script = f"""
import signal, sys
from lundock_common import process
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
process.run({LONG}, timeout_s=600)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as ours:
        try:
            eventually(lambda: sleepers(ours.pid), "the program to run")
            ours.send_signal(signal.SIGTERM)
            assert ours.wait(60) == 143
        finally:
            for pid in sleepers(ours.pid):
                os.kill(pid, signal.SIGKILL)
            ours.kill()
