"""What vm-disks keeps on a host: a directory for a VM's files, and locks, which end with the process that has them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm_disks.errors import AlreadyRunning, LocalFileError

SYSTEM_DIRECTORY = Path("/var/lib/vm-disks")
PATIENCE_S = 1.0
"""A look at a lock holds it for a moment, and the end of a start gives it back a moment after the VM's."""
RETRY_S = 0.05


def root() -> Path:
    """Root's where libvirt's own user can reach the files, else in the user's state."""
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "vm-disks"


def directory(domain: str) -> Path:
    """Where the files of a domain are. Its name has a "_", so no domain is named as the locks' directory is."""
    return root() / domain


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn the system's errors into ours.

    Args:
        what: what is attempted, as in "Could not WHAT".

    Raises:
        LocalFileError: this host has no room, or no right, for a file.
    """
    try:
        yield
    except OSError as error:
        raise LocalFileError(
            f"Could not {what}: {error.strerror or error} ({error.filename or root()}). Check the free space and the "
            f"rights of {root()}."
        ) from error


@contextmanager
def starting(place: str, domain: str, what: str = "start") -> Iterator[None]:
    """Only one vm-disks of this host at a time does this with a domain.

    Without it, the second of two starts would make the first one's files anew, and give its Leases back when it fails.

    Args:
        place: the daemon's (`Hypervisor.place`).
        domain: its name.
        what: "start" or another word for what is done; each has a lock of its own.

    Raises:
        AlreadyRunning: another vm-disks is at it.
        LocalFileError: this host has no room, or no right, for the lock.
    """
    file = _lock(place, domain, what)
    with writing(f"lock domain {domain}"):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        descriptor = _acquire(file)
    if descriptor is None:
        raise AlreadyRunning(
            f"Another vm-disks on this host is at it already: it starts, runs or changes domain {domain}. "
            "Wait for it, or end the VM with `vm-disks stop`."
        )
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # before the lock is gone, so that nobody can have taken it
        os.close(descriptor)


def is_starting(place: str, domain: str) -> bool:
    """Whether some vm-disks of this host is between the start of a domain and its own end."""
    try:
        descriptor = os.open(_lock(place, domain, "start"), os.O_RDONLY)
    except OSError:  # there is none, or it is another user's, whose domains are on another daemon
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(place: str, domain: str, what: str) -> Path:
    return root() / "locks" / f"{place}_{domain}.{what}"


def _acquire(file: Path) -> int | None:
    """The descriptor that holds the lock of the file that is there now; None when somebody keeps it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and os.fstat(descriptor).st_ino == file.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        if time.monotonic() >= deadline:
            return None
        time.sleep(RETRY_S)
