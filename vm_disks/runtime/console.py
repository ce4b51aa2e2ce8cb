"""A VM's serial console: its output followed, and a terminal joined to it."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from vm_disks.errors import ConsoleTimeout, MachineEnded, MachineStuck
from vm_disks.runtime.hypervisor import attempting
from vm_disks.runtime.libvirt_binding import libvirt
from vm_disks.runtime.machine import Machine

ESCAPE = b"\x1d"
"""Ctrl-], as in virsh and telnet."""
CHECK_S = 0.5
SEND_RETRY_S = 0.02
WOULD_BLOCK = -2
READABLE = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR


class Console:
    """The console of one machine. libvirt's event loop reads it, as in virsh: blocking streams can hang other calls."""

    def __init__(self, machine: Machine, *, force: bool = False) -> None:
        """Open the console.

        Args:
            machine: whose console it is.
            force: take it from whoever has it.

        Raises:
            HypervisorError: libvirt does not give it, such as when somebody else has it.
        """
        self.machine = machine
        self._output: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else libvirt.VIR_DOMAIN_CONSOLE_SAFE
        fix = "If somebody else has it open, --force takes it from them"
        with attempting(f"open the console of domain {machine.name}", fix):
            self._stream = machine.hypervisor.connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
            machine.domain.openConsole(None, self._stream, flags)
            self._stream.eventAddCallback(READABLE, self._read, None)

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(libvirt.libvirtError):  # it ended already
            self._stream.eventRemoveCallback()
        with contextlib.suppress(libvirt.libvirtError):
            self._stream.abort()

    def _read(self, _stream: Any, _events: int, _opaque: object) -> None:
        try:
            data = self._stream.recv(65536)
        except libvirt.libvirtError:
            data = b""  # the machine ended, or somebody took the console
        if data == WOULD_BLOCK:
            return
        if data:
            self._output.put(data)
        else:
            self._output.put(None)
            with contextlib.suppress(libvirt.libvirtError):
                self._stream.eventRemoveCallback()

    def send(self, data: bytes) -> None:
        with attempting(f"write to the console of domain {self.machine.name}"):
            while data:
                sent = self._stream.send(data)
                if sent == WOULD_BLOCK:
                    time.sleep(SEND_RETRY_S)
                else:
                    data = data[sent:]

    def chunks(self, timeout_s: float | None = None) -> Iterator[bytes]:
        """Output as it comes, and b"" after each silence of CHECK_S, until the console closes.

        Raises:
            ConsoleTimeout: it did not close within `timeout_s`.
            MachineStuck: the virtual CPU gave up.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = CHECK_S if deadline is None else min(CHECK_S, deadline - time.monotonic())
            try:
                data = self._output.get(timeout=max(0.0, left_s))
            except queue.Empty:
                if self.machine.stuck:
                    raise MachineStuck(
                        f"Domain {self.machine.name} is stuck: QEMU could not go on with the guest's code. "
                        "This machine's KVM may be incomplete; --accel tcg does without."
                    ) from None
                if deadline is not None and time.monotonic() >= deadline:
                    raise ConsoleTimeout(
                        f"The console of domain {self.machine.name} was watched for {timeout_s:g} s in vain."
                    ) from None
                yield b""
                continue
            if data is None:
                return
            yield data

    def follow(self, write: Callable[[bytes], object], *, until: str | None, timeout_s: float | None) -> None:
        """Copy the output until a text comes, or without one until the machine ends.

        Args:
            write: takes the output.
            until: the text.
            timeout_s: after so many seconds it is given up; None waits for ever.

        Raises:
            ConsoleTimeout: neither came in this time.
            MachineStuck: the virtual CPU gave up.
            MachineEnded: the console closed before the text came.
        """
        wanted = until.encode() if until else None
        seen = b""
        for data in self.chunks(timeout_s):
            write(data)
            if wanted is not None:
                seen = seen[-len(wanted) :] + data
                if wanted in seen:
                    return
        if wanted is not None:
            raise MachineEnded(f"The console of domain {self.machine.name} closed before it said {until!r}.")

    def log(self, write: Callable[[bytes], object]) -> None:
        """Copy the output for a log, until the console closes: a container's log shows no line before its end.

        So a line that does not go on, such as a prompt, is ended.

        Raises:
            MachineStuck: the virtual CPU gave up.
        """
        within_line = False
        for data in self.chunks():
            if data:
                write(data)
                within_line = not data.endswith(b"\n")
            elif within_line:
                write(b"\n")
                within_line = False

    def settle(self, duration_s: float) -> None:
        """Watch for a while that the guest runs, whatever it says.

        Raises:
            MachineStuck: the virtual CPU gave up.
        """
        with contextlib.suppress(ConsoleTimeout):
            self.follow(lambda _: None, until=None, timeout_s=duration_s)

    def join_terminal(self, *, until: str | None = None, timeout_s: float | None = None) -> None:
        """Standard input and output become the guest's terminal. Ctrl-] leaves it; so does the machine's end."""
        threading.Thread(target=self._type, name="keyboard", daemon=True).start()
        with raw_terminal():
            self.follow(write_stdout, until=until, timeout_s=timeout_s)

    def _type(self) -> None:
        while data := os.read(sys.stdin.fileno(), 1024):
            before, escape, _ = data.partition(ESCAPE)
            try:
                self.send(before if sys.stdin.isatty() else data)
            except Exception:  # noqa: BLE001 (the reader reports the console's end)
                return
            if escape and sys.stdin.isatty():
                self._output.put(None)
                return


class NoConsole(Console):
    """That of a machine without a serial port: silence until it ends."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._output = queue.SimpleQueue()

    def __exit__(self, *_: object) -> None:
        pass

    def chunks(self, timeout_s: float | None = None) -> Iterator[bytes]:
        for data in super().chunks(timeout_s):
            if self.machine.state == "off":
                return
            yield data


def write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the guest one by one and unechoed; the terminal is put back afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
