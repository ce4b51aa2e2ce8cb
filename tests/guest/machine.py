"""The guest as an object: boots in seconds from the cached root disk, runs commands, forgets all it did.

The host is 10.0.2.2 for the guest. The host reaches the guest's ports through `Machine.ports`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.machine.ports import free_ports
from cluster.machine.waiting import wait_for
from tests.guest.root_disk import locked, root_disk

HOST = "10.0.2.2"
"""The host's address as the guest sees it (QEMU's user network)."""

FORWARDED_PORTS = (3260, 3261, 8081)
MEMORY_MIB = 1024
BOOT_TIMEOUT_S = {"kvm": 60, "tcg": 240}
SOURCE = ("lundock_common", "target_image", "cluster", "tests", "pyproject.toml", "setup.py")
REPOSITORY = Path(__file__).resolve().parents[2]


class GuestError(Exception):
    """The guest did not start, or a command in it failed."""


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


class Machine:
    """A running guest. Made by `boot`."""

    def __init__(self, line: socket.socket, ports: dict[int, int], accelerator: str) -> None:
        self._line = line
        self._reader = line.makefile("rb")
        self.ports = ports
        """Guest port to the port on 127.0.0.1 of the host."""
        self.accelerator = accelerator

    def close(self) -> None:
        self._reader.close()
        self._line.close()

    def run(self, script: str, *, timeout_s: float = 120, check: bool = True) -> Result:
        """Run a bash script in the guest, from the repository's copy there.

        Raises:
            GuestError: the exit code is not 0, unless `check` is off, or the guest is gone.
        """
        request = {"script": script, "timeout_s": timeout_s}
        self._line.settimeout(timeout_s + 60)
        self._line.sendall(json.dumps(request).encode() + b"\n")
        answer = self._reader.readline()
        if not answer:
            raise GuestError(f"the guest went away while it ran: {script}")
        return self.checked(script, Result(**json.loads(answer)), check)

    @staticmethod
    def checked(script: str, result: Result, check: bool) -> Result:
        if check and result.code != 0:
            raise GuestError(f"exit code {result.code} in the guest of: {script}\n{result.stdout}\n{result.stderr}")
        return result

    def until(self, script: str, *, timeout_s: float = 60) -> Result:
        """Run a script again and again until it ends with 0.

        Raises:
            GuestError: it does not in this time, or the guest is gone.
        """
        result = wait_for(
            lambda: self.run(script, check=False), timeout_s, enough=lambda result: result.code == 0, pause_s=0.2
        )
        if result.code != 0:
            raise GuestError(f"still not so after {timeout_s} s: {script}\n{result.stdout}\n{result.stderr}")
        return result

    def start(self, *argv: str, name: str) -> None:
        """Start a daemon in the guest; its output goes to /tmp/NAME.log, its process id to /tmp/NAME.pid."""
        self.run(f"setsid {shlex.join(argv)} >/tmp/{name}.log 2>&1 & echo $! >/tmp/{name}.pid")

    def write(self, path: str, text: str) -> None:
        self.run(f"cat >{shlex.quote(path)} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")


@contextlib.contextmanager
def boot(folder: Path, extra: dict[str, Path] | None = None) -> Iterator[Machine]:
    """Boot the one guest of this machine.

    Args:
        folder: takes its console log and its overlay.
        extra: files beyond our source, by the path that they get under /srv/lundock in the guest.
    """
    source = folder / "source.tar"
    _pack(source, extra or {})
    with locked("guest-running"), _boot(folder, source, _accelerator()) as machine:
        yield machine


def _accelerator() -> str:
    """KVM only where the processor has hardware virtualization.

    /dev/kvm alone says too little: without vmx or svm it may be pvm's, which runs only kernels made for it (seen: stock
    Linux stands still in real mode, and QEMU says nothing).
    """
    flags = re.findall(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    hardware = any({"vmx", "svm"} & set(line.split()) for line in flags[:1])
    usable = hardware and os.access("/dev/kvm", os.R_OK | os.W_OK)
    return os.environ.get("LUNDOCK_GUEST_ACCELERATOR") or ("kvm" if usable else "tcg")


@contextlib.contextmanager
def _boot(folder: Path, source: Path, accelerator: str) -> Iterator[Machine]:
    disk = root_disk()
    ports = dict(zip(FORWARDED_PORTS, itertools.count(free_ports(len(FORWARDED_PORTS))), strict=False))
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in ports.items())
    console = folder / f"console-{accelerator}.log"
    ours, theirs = socket.socketpair()
    argv = [
        "qemu-system-x86_64",
        *("-machine", f"q35,accel={accelerator}", "-cpu", "host" if accelerator == "kvm" else "max"),
        *("-smp", "2", "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(disk.kernel), "-initrd", str(disk.initrd)),
        *("-append", "root=/dev/vda rw init=/sbin/lundock-init net.ifnames=0 console=ttyS0 panic=-1"),
        *("-serial", f"file:{console}"),
        *("-drive", f"file={disk.disk},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={source},format=raw,if=virtio,readonly=on"),
        *("-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=port,fd={theirs.fileno()}"),
        *("-device", "virtserialport,chardev=port,name=lundock"),
        *("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"),
    ]
    with (folder / "qemu.log").open("w") as log:
        qemu = subprocess.Popen(
            argv, stdout=log, stderr=log, pass_fds=[theirs.fileno()], env=os.environ | {"TMPDIR": str(folder)}
        )
    theirs.close()
    machine = Machine(ours, ports, accelerator)
    try:
        ours.settimeout(BOOT_TIMEOUT_S[accelerator])
        try:
            greeting = machine._reader.readline()
        except TimeoutError:
            greeting = b""
        if b"ready" not in greeting:
            words = (folder / "qemu.log").read_text() + console.read_text(errors="replace")[-2000:]
            raise GuestError(f"the guest did not boot with {accelerator}: {words}")
        yield machine
    finally:
        qemu.kill()
        qemu.wait()
        machine.close()


def _pack(tar: Path, extra: dict[str, Path]) -> None:
    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in member.name else member

    with tarfile.open(tar, "w") as archive:
        for name in SOURCE:
            archive.add(REPOSITORY / name, arcname=name, filter=wanted)
        for name, path in extra.items():
            archive.add(path, arcname=name)
