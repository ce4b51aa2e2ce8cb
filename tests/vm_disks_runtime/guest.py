"""A booted VM and its shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.vm_disks_runtime import vms


class Guest:
    """A booted VM and its shell on the console."""

    def __init__(self, uri: str, *files: Path) -> None:
        self.uri = uri
        self.files = [part for file in files for part in ("-f", str(file))]
        vms.run("start", *self.files, "--until", "login:", "--timeout", "240", uri=uri)
        self._type("root", "# ")

    def _type(self, line: str, until: str, timeout_s: float = 60) -> str:
        arguments = ("console", *self.files, "--until", until, "--timeout", str(timeout_s))
        return vms.run(*arguments, uri=self.uri, input=f"{line}\n").stdout

    def run(self, command: str, timeout_s: float = 60) -> str:
        """What a shell command prints, which must succeed. The shell joins the marks: its echo has none."""
        output = self._type(f"echo be''gin; {command}; echo e''nd$?", "end0", timeout_s)
        return output.partition("begin")[2].rpartition("end0")[0]

    def vm_disks(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return vms.run(command, *self.files, *arguments, uri=self.uri)

    def stop(self) -> None:
        self.vm_disks("stop", "--grace", "0")
