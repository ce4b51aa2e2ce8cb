"""Whatever is killed, the next start brings it back with its data, and nothing is left behind by a killed user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane, sweep
from cluster.errors import NotReady
from cluster.machine.processes import Processes, is_alive
from cluster.machine.waiting import wait_for
from cluster.places import REPOSITORY

pytestmark = pytest.mark.cluster


def test_killed_components_come_back_with_the_data() -> None:
    with ControlPlane.alone() as plane:
        plane.kubectl("create", "configmap", "kept", "--from-literal=answer=42")
        killed = plane.processes.all()
        assert len(killed) == 3, "etcd, the API server and the controller manager"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        # A process that dies has no environment any more, and so no mark, while it still holds its ports.
        assert wait_for(lambda: not any(map(is_alive, killed)), timeout_s=10)
        plane.start()
        assert plane.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.answer}") == "42"
        again = plane.processes.all()
    assert not any(map(is_alive, again))
    assert not plane.places.run.exists()


def test_a_killed_user_leaves_nothing_for_long() -> None:
    program = """from cluster.components.control_plane import ControlPlane
with ControlPlane.alone() as plane:
    print(plane.places.run, flush=True)
    input()
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        folder = Path(user.stdout.readline().strip())
        user.kill()
    orphans = Processes(folder, folder)
    assert orphans.all()
    sweep()
    assert not orphans.all()
    assert not folder.exists()


def test_a_component_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path, tmp_path / "log")
    processes.start("complainer", "/bin/sh", "-c", "echo the disk is on fire; exit 1")
    with pytest.raises(NotReady, match="the disk is on fire"):
        processes.wait("complainer", lambda: False, timeout_s=10)
