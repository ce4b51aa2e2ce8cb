"""The provisioner is killed between any two calls that change something; the next start finishes it.

The calls go through proxies to a real API server and a real agent. Each change is made again and again; the process is
killed one moment later each time, before a call is passed on or after it was made and before its answer, until the
change gets through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.faults.conftest import SWEEP
from tests.faults.tools import invariants
from tests.faults.tools.proxy import Fault, Proxy, before_api_server
from tests.provisioner.stage import Stage, TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NO_STEPS = ("/events", "/leases")
"""What may be lost, and what is written all the time."""


class Executioner:
    """Counts moments, before and after each call that changes something, and kills at the chosen one."""

    def __init__(self) -> None:
        self.kill: Callable[[], None] = lambda: None
        self.killed = threading.Event()
        self._left: int | None = None
        self._mutex = threading.Lock()

    def arm(self, moments: int) -> None:
        self.killed.clear()
        self._left = moments

    def disarm(self) -> None:
        self._left = None

    def choose(self, method: str, path: str) -> Fault | None:
        """For Proxy.choose."""
        if method == "GET" or any(part in path for part in NO_STEPS):
            return None
        if self._moment():
            return Fault(status=503)  # its caller is dead: nothing reads it
        return Fault(then=self._moment)

    def _moment(self) -> bool:
        """Whether this was the chosen one, and the process is dead now."""
        with self._mutex:
            if self._left is None:
                return False
            self._left -= 1
            if self._left >= 0:
                return False
            self._left = None
            self.kill()
            self.killed.set()
            return True


@pytest.fixture
def executioner() -> Executioner:
    return Executioner()


@pytest.fixture
def watched(
    control_plane: ControlPlane, target: TargetProcess, tmp_path: Path, executioner: Executioner
) -> Iterator[Stage]:
    """A stage whose provisioner speaks to everybody through the executioner."""
    with before_api_server(control_plane, tmp_path) as (api, kubeconfig), Proxy(target.url).running() as agent:
        stage = Stage(control_plane.kubeconfig, tmp_path, [target])
        stage.kubeconfig = kubeconfig
        stage.config["targets"][0]["url"] = agent.url
        stage.process = stage.provisioner(sweep=SWEEP, leaderElection={"enabled": False})
        executioner.kill = stage.process.kill
        api.choose = agent.choose = executioner.choose
        stage.up()
        yield stage
        stage.down()


def test_a_kill_at_any_call_while_a_claim_is_made(
    watched: Stage, target: TargetProcess, executioner: Executioner
) -> None:
    for moments in range(100):
        name = f"made-{moments}"
        executioner.arm(moments)
        watched.claim(name)
        if through(executioner, partial(is_bound, watched, name)):
            assert moments > 6, "a claim is more calls than that"
            invariants.strangers_stay_out(watched)
            return
        watched.process.start()
        invariants.settled(watched, [target])
    pytest.fail("the claim never got through")


def test_a_kill_at_any_call_while_a_claim_is_deleted(
    watched: Stage, target: TargetProcess, executioner: Executioner
) -> None:
    watched.claim("stays")
    watched.bound("stays")
    for moments in range(100):
        name = f"goes-{moments}"
        watched.claim(name)
        watched.bound(name)
        executioner.arm(moments)
        watched.delete_claim(name)
        if through(executioner, partial(is_gone, watched, name)):
            assert moments > 6, "a deletion is more calls than that"
            assert [volume.owner.claim for volume in target.client.list_volumes() if volume.owner] == ["stays"]
            return
        watched.process.start()
        invariants.settled(watched, [target])
    pytest.fail("the deletion never got through")


def through(executioner: Executioner, done: Callable[[], bool]) -> bool:
    """Whether the change got through before the kill that was armed."""
    eventually(lambda: executioner.killed.is_set() or done(), "the change or the kill")
    executioner.disarm()
    return not executioner.killed.is_set()


def is_bound(stage: Stage, name: str) -> bool:
    claim = stage.get_claim(name)
    return claim is not None and (claim.get("status") or {}).get("phase") == "Bound"


def is_gone(stage: Stage, name: str) -> bool:
    """The claim, and every PV that was its."""
    return stage.get_claim(name) is None and all(pv["spec"]["claimRef"]["name"] != name for pv in stage.pvs())
