"""The demo target as a person runs it: `docker run -p 3260:3260 lundock/target`."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from cluster.errors import CommandFailed, NotReady
from cluster.machine import shell
from cluster.machine.waiting import wait_for

NAME = "lundock-demo"
IQN = "iqn.2017-01.io.kubevirt:sn.42"
ISCSI_PORT = 3260
DISKS = range(1, 5)
"""LUN 0 is tgt's own controller."""


@dataclass(frozen=True)
class DemoTarget:
    """One container, by name. Ports are the host's."""

    port: int = ISCSI_PORT

    @classmethod
    def on_free_ports(cls) -> DemoTarget:
        """On 3260 where nothing has it, else on a free port."""
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", ISCSI_PORT))  # noqa: S104 - only to see whether it is free
            except OSError:
                probe.bind(("0.0.0.0", 0))  # noqa: S104
            return cls(probe.getsockname()[1])

    @property
    def url(self) -> str:
        return f"iscsi://127.0.0.1{f':{self.port}' if self.port != ISCSI_PORT else ''}"

    @property
    def command(self) -> str:
        return f"docker run -d --name {NAME} -p {self.port}:3260 lundock/target"

    def qemu_command(self, lun: int) -> list[str]:
        """The command of 2017; -snapshot keeps the disk as it is."""
        return ["qemu-system-x86_64", "-snapshot", "-nographic", "-drive", f"file={self.url}/{IQN}/{lun}"]

    def start(self) -> None:
        """Start a new container, in place of an old one, and wait until all four disks are served.

        Raises:
            NotReady: they are not after two minutes; with the container's log.
        """
        self.stop()
        shell.run(*self.command.split())
        if not wait_for(self._serves_all, timeout_s=120):
            raise NotReady(f"the target serves no four disks after 120 s:\n{shell.run('docker', 'logs', NAME)[-2000:]}")

    def luns(self) -> str:
        """What iscsi-ls sees; empty while nothing is served."""
        try:
            return shell.run("iscsi-ls", "-s", self.url, timeout_s=30)
        except CommandFailed:
            return ""

    def _serves_all(self) -> bool:
        words = self.luns().split()
        return all(f"Lun:{number}" in words for number in DISKS)

    def stop(self) -> None:
        """Remove it with its data, if it is there."""
        if shell.succeeds("docker", "container", "inspect", NAME):
            shell.run("docker", "rm", "-f", "-v", NAME)
