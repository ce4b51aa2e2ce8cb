"""dockerd and libvirtd: started when nothing answers at their socket, and stopped when it was we who started them.

What is ours is known by a mark in the process's environment (see `processes`), so a crash of the caller loses nothing.
"""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed, Privilege
from cluster.machine import shell
from cluster.machine.processes import Processes
from cluster.places import cache_home
from cluster.progress import Progress, silent

OWNER = Path("/run/lundock-daemons")
KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Daemon:
    name: str
    """Also the program."""
    answers: Callable[[], bool]
    """Whether it serves, whoever started it."""
    prepare: Callable[[Progress], None] | None = None
    """What has to be done before we start it."""


def _docker_answers() -> bool:
    try:
        return bool(shell.run("docker", "version", "--format", "{{.Server.Version}}", timeout_s=20).strip())
    except CommandFailed:
        return False


def _accepts(path: str) -> Callable[[], bool]:
    def probe() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            return client.connect_ex(path) == 0

    return probe


def share_kvm(progress: Progress, device: Path = KVM) -> None:
    """Give a /dev/kvm that only root may open to the group kvm, as udev does on machines that have it.

    libvirtd tries KVM with CAP_DAC_OVERRIDE (virQEMUCapsInitQMPCommand), and before each later step asks whether its
    QEMUs' user may open the device too (virQEMUCapsIsValid). Where the two disagree it tries again, 2 s a time, and a
    VM's start takes two minutes (seen with libvirt 9.0).
    """
    try:
        if device.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return
        group = grp.getgrnam("kvm").gr_gid
    except (OSError, KeyError):
        return
    progress(f"giving {device} to the group kvm, as udev would: libvirt's QEMU may not open it")
    os.chown(device, -1, group)
    device.chmod(0o660)


DOCKER = (Daemon("dockerd", _docker_answers),)
LIBVIRT = (
    Daemon("virtlogd", _accepts("/run/libvirt/virtlogd-sock")),
    Daemon("libvirtd", _accepts("/run/libvirt/libvirt-sock"), prepare=share_kvm),
)


def processes() -> Processes:
    return Processes(OWNER, cache_home() / "log")


def start(daemons: tuple[Daemon, ...], progress: Progress) -> None:
    """Start those that do not answer, in order.

    Raises:
        NotReady: with the end of the daemon's log.
        Privilege: not root, and something has to be started.
        ToolMissing: the daemon is not installed.
    """
    for daemon in daemons:
        if daemon.answers():
            continue
        if os.geteuid() != 0:
            raise Privilege(f"{daemon.name} does not answer, and starting it needs root: start it, or run this as root")
        if daemon.prepare is not None:
            daemon.prepare(progress)
        progress(f"starting {daemon.name}")
        processes().start(daemon.name, daemon.name)
        processes().wait(daemon.name, daemon.answers, timeout_s=60)


def stop(progress: Progress = silent, daemons: tuple[Daemon, ...] = (*DOCKER, *LIBVIRT)) -> None:
    """Stop what `start` started, in any earlier run too, and nothing else."""
    for daemon in reversed(daemons):
        if processes().pid(daemon.name) is not None:
            progress(f"stopping {daemon.name}")
            processes().stop(daemon.name, patience_s=30)
