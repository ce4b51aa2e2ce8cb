"""File systems of their own in a file, for tests of what only some of them do, and of what goes wrong on one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.capabilities import need

BTRFS = ("mkfs.btrfs", "-q")
EXT4 = ("mkfs.ext4", "-q")
XFS = ("mkfs.xfs", "-q", "-m", "reflink=1")


@contextlib.contextmanager
def mounted(folder: Path, make: Sequence[str], size_mib: int, options: str = "loop") -> Iterator[Path]:
    """A new file system, mounted at `folder`/mounted as long as the block lasts. It is in `folder`/filesystem.img."""
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
        subprocess.run(["umount", str(mount)], check=True, timeout=60)
