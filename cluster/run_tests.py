"""`./test`: static checks and all tests, with the daemons and the Kubernetes build that they need.

What runs in Kubernetes waits more than it computes, so it runs beside the rest and is shown at the end.
Any arguments go to pytest, and then only it runs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.background_build import BackgroundBuild
from cluster.errors import ClusterError
from cluster.machine import daemons
from cluster.places import REPOSITORY
from cluster.terminal import heading, say

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)
PYTEST = (sys.executable, "-m", "pytest")
# There is one guest: whoever needs it goes with those that do, or waits for them.
IN_KUBERNETES = ("-m", "cluster and not guest and not slow")
ALL_OTHERS = ("-m", "(guest or not cluster) and not slow")
PROGRESS_S = 60


def check() -> list[str]:
    """Run the static checks.

    Returns:
        Those that failed; their output is on the terminal.
    """
    failed = []
    for argv in CHECKS:
        say(f"  $ {' '.join(argv)}")
        if subprocess.run(argv, cwd=REPOSITORY, check=False).returncode:
            failed.append(" ".join(argv))
    return failed


@contextmanager
def beside(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A pytest that runs beside, and the file with what it prints. It is ended with the block."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(
            [*PYTEST, *arguments],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it once, by us: a second one would cut its tidying up
        )
        try:
            yield process, Path(output.name)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait()


def run_all(building: BackgroundBuild) -> list[str]:
    """Everything.

    Returns:
        The names of the parts that failed.
    """
    building.wait()  # helm, which the chart is rendered with, is built with it
    with beside(*IN_KUBERNETES) as (in_kubernetes, output):
        heading("1", "Static checks")
        failed = check()
        heading("2", "Tests (those in Kubernetes run beside them)")
        if subprocess.run([*PYTEST, *ALL_OTHERS], cwd=REPOSITORY, check=False).returncode:
            failed.append("tests")
        heading("3", "Tests in Kubernetes")
        while in_kubernetes.poll() is None:
            say(f"  {''.join(output.read_text(errors='replace').splitlines()[-1:])}")
            with suppress(subprocess.TimeoutExpired):
                in_kubernetes.wait(PROGRESS_S)
        say(output.read_text(errors="replace"))
        if in_kubernetes.returncode:
            failed.append("tests in Kubernetes")
    return failed


def main(arguments: list[str]) -> int:
    started_s = time.monotonic()
    daemons.start((*daemons.DOCKER, *daemons.LIBVIRT), say)
    try:
        building = BackgroundBuild()
        if arguments:
            building.wait()
            return subprocess.run([*PYTEST, *arguments], cwd=REPOSITORY, check=False).returncode
        failed = run_all(building)
    finally:
        daemons.stop(say)
        minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
        say(f"{minutes} min {seconds} s")
    for name in failed:
        say(f"failed: {name}")
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ClusterError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
