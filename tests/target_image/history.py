"""Earlier states of this repository, taken from git, to run beside the present one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FIRST = "8622457"
"""The last commit before the target's contract moved to target_image/api; it stands in until there is a release."""
PACKAGES = ("lundock_common", "target_image")


def has_commit(commit: str) -> bool:
    """Whether the clone holds the commit; one of limited depth, or an unpacked archive, may not."""
    return _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def newest_release() -> str | None:
    """The newest release's tag, of v0.1.0 and later, other than one on the present commit."""
    present = _git("tag", "--points-at", "HEAD").stdout.decode().split()
    tags = _git("tag", "--list", "v[0-9]*").stdout.decode().split()
    releases = {tag: tuple(map(int, tag[1:].split("."))) for tag in tags if re.fullmatch(r"v\d+\.\d+\.\d+", tag)}
    earlier = [tag for tag, number in releases.items() if number >= (0, 1, 0) and tag not in present]
    return max(earlier, key=releases.__getitem__, default=None)


def extract(commit: str, folder: Path) -> Path:
    """The target of a commit, with what it needs of ours.

    Args:
        commit: a commit or a tag.
        folder: where its packages go.

    Returns:
        The folder, which is what PYTHONPATH has to name.
    """
    there = _git("ls-tree", "--name-only", commit, *PACKAGES).stdout.decode().split()
    packed = _git("archive", commit, *there)
    packed.check_returncode()
    # By tar(1): Python 3.11.2, which Debian 12 has, knows no filter for what is unpacked.
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True, timeout=60)
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=False)
