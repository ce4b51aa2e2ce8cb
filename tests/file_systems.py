"""File systems of their own in a file, for tests of what only some of them do, and of what goes wrong on one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cluster.machine.waiting import wait_for
from tests.capabilities import need

BTRFS = ("mkfs.btrfs", "-q")
EXT4 = ("mkfs.ext4", "-q")
XFS = ("mkfs.xfs", "-q", "-m", "reflink=1")


@contextlib.contextmanager
def mounted(folder: Path, make: Sequence[str], size_mib: int, options: str = "loop") -> Iterator[Path]:
    """A new file system, mounted at `folder`/mounted until the block ends. It is in `folder`/filesystem.img."""
    need("root")
    image, mount = folder / "filesystem.img", folder / "mounted"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(size_mib * 2**20)
    for argv in ([*make, str(image)], ["mount", "-o", options, str(image), str(mount)]):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            pytest.skip(f"{argv[0]} is not installed")
        if done.returncode != 0:
            pytest.skip(f"{' '.join(argv[:2])}: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        unmount(mount)


def unmount(mount: Path) -> None:
    """Unmount it as soon as nothing has a file open there: what was killed a moment ago may still have to end."""

    def attempt() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["umount", str(mount)], capture_output=True, text=True, timeout=60, check=False)

    done = wait_for(attempt, timeout_s=60, enough=lambda done: done.returncode == 0)
    assert done.returncode == 0, done.stderr
