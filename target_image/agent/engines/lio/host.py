"""What LIO needs of the host, and the claim to be the only one who manages it there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from lundock_common import process
from lundock_common.process import ProgramFailed
from target_image.agent.errors import EngineFailed

CONFIGFS = Path("/sys/kernel/config")
LIO = CONFIGFS / "target"
STATE_DIR = Path("/etc/target")
"""rtslib refuses to work without it."""


def import_rtslib() -> Any:
    """rtslib-fb, the only import of it.

    Raises:
        EngineFailed: it is missing, or libudev is.
    """
    try:
        import rtslib_fb
    except (ImportError, OSError) as error:
        raise EngineFailed(
            f"the LIO engine needs rtslib-fb and libudev ({error}): install lundock[lio] and the package libudev1"
        ) from error
    return rtslib_fb


def load_lio() -> None:
    """Have LIO's kernel module loaded, with the right to configure it.

    Raises:
        EngineFailed: the host or the container lacks something; says how to get it.
    """
    if os.geteuid() != 0:
        raise _lacking("root (run the container with --user 0 --privileged)")
    if not CONFIGFS.is_mount():
        raise _lacking(
            f"configfs at {CONFIGFS} (on the host: mount -t configfs configfs {CONFIGFS}; "
            f"for a container: --privileged -v {CONFIGFS}:{CONFIGFS})"
        )
    if not LIO.is_dir():
        try:
            process.run(["modprobe", "target_core_mod"], timeout_s=30)
        except ProgramFailed as error:
            raise _lacking(
                f"the kernel module target_core_mod ({error.stderr.strip()}; on the host: modprobe target_core_mod; "
                "for a container: -v /lib/modules:/lib/modules:ro)"
            ) from error
    if not os.access(LIO, os.W_OK):
        raise _lacking(f"the right to write to {LIO} (run the container with --privileged)")


def _lacking(what: str) -> EngineFailed:
    return EngineFailed(f"LIO cannot be used, it lacks {what}")


def make_state_folders() -> None:
    """rtslib's, and the one in which the kernel keeps persistent reservations that must survive a power failure.

    Without `pr` in its dbroot the kernel refuses to register such a reservation (APTPL) with NOT READY. It looks in the
    host's file system, whatever container the agent is in.
    """
    STATE_DIR.mkdir(parents=True, exist_ok=True)
    (Path((LIO / "dbroot").read_text().strip()) / "pr").mkdir(parents=True, exist_ok=True)


def lock() -> int:
    """A descriptor that keeps other agents off this host's LIO, in whatever container.

    Raises:
        EngineFailed: another agent has one.
    """
    descriptor = os.open(LIO, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise EngineFailed("another agent manages LIO on this host: one host has one; stop the other one") from error
    return descriptor
