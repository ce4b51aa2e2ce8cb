"""A real tgtd of the test's own, driven by tgtadm."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cluster.machine.ports import free_ports
from tests.waiting import eventually


@dataclass(frozen=True)
class Lun:
    iqn: str
    file: Path
    user: str | None = None
    password: str | None = None
    read_only: bool = False
    initiator: str | None = None
    """The only initiator name that gets in."""


@dataclass
class Target:
    """One tgtd on a loopback port; a target for each LUN, which is LUN 1 of it."""

    directory: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_ports)
    luns: list[Lun] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def portal(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TGT_IPC_SOCKET": str(self.directory / "tgtd"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}

    def start(self) -> None:
        """Also after `kill`: with every LUN that it had."""
        arguments = ["tgtd", "-f", "-C", "0", "-t", "1", "--iscsi", f"portal={self.portal}"]
        with (self.directory / "tgtd.log").open("ab") as log:
            self.process = subprocess.Popen(arguments, env=self._environment, stdout=log, stderr=log)
        eventually(self._answers, "tgtd to answer", 20)
        for tid, lun in enumerate(self.luns, 1):
            self._export(tid, lun)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "tgtd.log").read_text()
        show = ["tgtadm", "--op", "show", "--mode", "sys"]
        if subprocess.run(show, env=self._environment, capture_output=True, timeout=10, check=False).returncode:
            return False
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def add(self, lun: Lun) -> Lun:
        self.luns.append(lun)
        self._export(len(self.luns), lun)
        return lun

    def _export(self, tid: int, lun: Lun) -> None:
        target = f"--mode target --tid {tid}"
        unit = f"--mode logicalunit --tid {tid} --lun 1"
        self.tgtadm(f"--op new {target} -T {lun.iqn}")
        self.tgtadm(f"--op new {unit} -b {lun.file}")
        self.tgtadm(f"--op update {unit} --params scsi_sn=sn{tid},readonly={int(lun.read_only)},thin_provisioning=1")
        if lun.user is not None:
            self.tgtadm(f"--op new --mode account --user {lun.user} --password {lun.password}")
            self.tgtadm(f"--op bind --mode account --tid {tid} --user {lun.user}")
        self.tgtadm(f"--op bind {target} " + (f"-Q {lun.initiator}" if lun.initiator else "-I ALL"))

    def grow(self, lun: Lun, size_bytes: int) -> None:
        os.truncate(lun.file, size_bytes)
        unit = f"--op update --mode logicalunit --tid {self.luns.index(lun) + 1} --lun 1 --params"
        self.tgtadm(f"{unit} online=0,path={lun.file}")
        self.tgtadm(f"{unit} online=1")

    def sessions(self, lun: Lun) -> int:
        shown = self.tgtadm(f"--op show --mode conn --tid {self.luns.index(lun) + 1}")
        return shown.count("Session:")

    def tgtadm(self, arguments: str) -> str:
        command = ["tgtadm", "--lld", "iscsi", *arguments.split()]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None
