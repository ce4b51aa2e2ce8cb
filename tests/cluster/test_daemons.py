"""A daemon is started only when nothing answers, and stopped only when it was we who started it."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machine import daemons
from cluster.machine.daemons import Daemon
from cluster.machine.waiting import wait_for
from tests.capabilities import need

SERVER = f"""#!{sys.executable}
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[0] + ".sock")
    server.listen()
    while True:
        server.accept()[0].close()
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A small daemon of this test's own: a program that accepts connections at a socket."""
    need("root")
    program = tmp_path / "small-daemon"
    program.write_text(SERVER)
    program.chmod(0o755)
    found = Daemon(str(program), lambda: _accepts(tmp_path / "small-daemon.sock"))
    yield found
    daemons.stop(daemons=(found,))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_what_we_started_we_stop(daemon: Daemon) -> None:
    said: list[str] = []
    daemons.start((daemon,), said.append)
    assert daemon.answers()
    daemons.start((daemon,), said.append)
    assert said == [f"starting {daemon.name}"]
    daemons.stop(daemons=(daemon,))
    assert not daemon.answers()


def test_what_ran_before_stays(daemon: Daemon) -> None:
    with subprocess.Popen([daemon.name]) as before:
        try:
            assert wait_for(daemon.answers, timeout_s=10)
            said: list[str] = []
            daemons.start((daemon,), said.append)
            daemons.stop(said.append, (daemon,))
            assert daemon.answers()
            assert said == []
        finally:
            before.kill()


@pytest.mark.parametrize(("mode", "shared"), [(0o600, True), (0o666, False), (0o660, False)])
def test_only_a_device_that_root_alone_may_open_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, shared: bool
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(mode)
    own = grp.getgrgid(os.getegid())
    monkeypatch.setattr(grp, "getgrnam", {"kvm": own}.__getitem__)
    said: list[str] = []
    daemons.share_kvm(said.append, device)
    assert bool(said) == shared
    assert device.stat().st_mode & 0o777 == (0o660 if shared else mode)
    assert device.stat().st_gid == own.gr_gid


def test_a_machine_without_kvm_is_left_alone(tmp_path: Path) -> None:
    daemons.share_kvm(pytest.fail, tmp_path / "kvm")
