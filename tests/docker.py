"""Docker by its command, for tests that start, kill and restart containers of their own.

What a compose file describes and tests share is started by pytest-docker (tests/target_image/test_container.py); it has
one set of services a session, and no way to give one test a container with other options or to kill it.
"""

from __future__ import annotations

import subprocess


def docker(*arguments: str, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `docker` to its end; fails with what it said, unless `check` is off."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done


def logs(container: str) -> str:
    """What the container wrote, to stdout and stderr."""
    done = docker("logs", container)
    return done.stdout + done.stderr
