"""`./test`: static checks, then all tests with the daemons and the Kubernetes build that they need.

Any arguments go to pytest, and then only it runs.
"""

from __future__ import annotations

import subprocess
import sys
import time

from cluster import daemons
from cluster.errors import ClusterError
from cluster.places import REPOSITORY
from cluster.terminal import heading, say
from cluster.walkthrough import BackgroundBuild

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def check() -> list[str]:
    """Run the static checks. Returns those that failed; their output is on the terminal."""
    failed = []
    for argv in CHECKS:
        say(f"  $ {' '.join(argv)}")
        if subprocess.run(argv, cwd=REPOSITORY, check=False).returncode:
            failed.append(" ".join(argv))
    return failed


def main(arguments: list[str]) -> int:
    started_s = time.monotonic()
    daemons.start((*daemons.DOCKER, *daemons.LIBVIRT), say)
    try:
        building = BackgroundBuild()
        failed = []
        if not arguments:
            heading("1", "Static checks")
            failed = check()
            heading("2", "Tests")
        building.wait()  # helm, which the chart is rendered with, is built with it
        tests = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY, check=False).returncode
    finally:
        daemons.stop(say)
    minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
    say(f"{minutes} min {seconds} s")
    for name in failed:
        say(f"failed: {name}")
    return tests or bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ClusterError as error:
        sys.exit(f"error: {error}")
