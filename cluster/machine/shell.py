"""Commands that end and whose output is read, for the cluster, the benchmarks and the demo.

Not lundock_common.process, which serves what is shipped: commands here need stdin, a folder, an environment and the
administrators' PATH, and a missing tool is answered with the Debian package that has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.errors import CommandFailed, ToolMissing

SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
"""PATH with the administrators' folders, which a user's PATH lacks on Debian."""

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "mount": "mount",
}


def find(tool: str) -> Path:
    """The path of a program.

    Raises:
        ToolMissing: with the Debian package that has it.
    """
    found = shutil.which(tool, path=SEARCH_PATH)
    if found is None:
        package = PACKAGES.get(tool, tool)
        raise ToolMissing(f"{tool} is not installed: `apt-get install {package}`, or any other way to have it on PATH")
    return Path(found)


def run(
    *argv: str | Path,
    stdin: str | None = None,
    timeout_s: float = 60,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> str:
    """Run a command to its end and return its stdout.

    Raises:
        CommandFailed: it ended with an error or not in its time.
        ToolMissing: there is no such program.
    """
    words = [str(find(str(argv[0]))), *map(str, argv[1:])]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=directory,
            env=environment_with_path(environment),
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(words, -1, f"still running after {timeout_s:.0f} s, so it was stopped") from late
    if done.returncode != 0:
        raise CommandFailed(words, done.returncode, done.stderr or done.stdout)
    return done.stdout


def succeeds(*argv: str | Path, timeout_s: float = 60) -> bool:
    """Whether a command ends well: for commands whose exit code is the answer."""
    try:
        run(*argv, timeout_s=timeout_s)
    except CommandFailed:
        return False
    return True


def environment_with_path(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PATH": SEARCH_PATH, **(extra or {})}


def pipe(producer: Sequence[str | Path], consumer: Sequence[str | Path], timeout_s: float = 600) -> None:
    """`producer | consumer`.

    Raises:
        CommandFailed: either ended with an error.
    """
    first, second = ([str(find(str(argv[0]))), *map(str, argv[1:])] for argv in (producer, consumer))
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(first, stdout=subprocess.PIPE, stderr=complaints) as source,
    ):
        try:
            sink = subprocess.run(second, stdin=source.stdout, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            source.kill()
            raise
        if sink.returncode != 0:
            source.kill()
            raise CommandFailed(second, sink.returncode, sink.stderr.decode(errors="replace"))
        if source.wait(timeout=timeout_s) != 0:
            complaints.seek(0)
            raise CommandFailed(first, source.returncode, complaints.read().decode(errors="replace"))
