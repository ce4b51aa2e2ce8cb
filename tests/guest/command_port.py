"""Runs in the guest: obeys commands that come as JSON lines over a virtio serial port.

A request is {"script", "timeout_s"}, its answer {"code", "stdout", "stderr"}. Needs no network, so that tests
may break the guest's network as they like.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAME = "lundock"
TIMED_OUT = 124


def port() -> Path:
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == NAME:
            return Path("/dev") / name.parent.name
    raise RuntimeError(f"the guest has no virtio serial port named {NAME}")


def run(script: str, timeout_s: float) -> dict[str, Any]:
    # Files, not pipes: a daemon that the script leaves behind keeps them open, and must not keep us waiting.
    # The script is a file as well: an argument may have 128 KiB at most.
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        tempfile.NamedTemporaryFile("w") as file,
    ):
        file.write(script)
        file.flush()
        process = subprocess.Popen(
            ["/bin/bash", file.name], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = TIMED_OUT
        stdout.seek(0)
        stderr.seek(0)
        return {
            "code": code,
            "stdout": stdout.read().decode(errors="replace"),
            "stderr": stderr.read().decode(errors="replace"),
        }


def main() -> None:
    with port().open("r+b", buffering=0) as line:
        line.write(b'{"ready": true}\n')
        pending = b""
        while True:
            chunk = line.read(65536)
            if not chunk:  # the host closed its end
                return
            pending += chunk
            while b"\n" in pending:
                request, pending = pending.split(b"\n", 1)
                answer = json.dumps(run(**json.loads(request))).encode() + b"\n"
                while answer:
                    answer = answer[line.write(answer) :]


if __name__ == "__main__":
    main()
