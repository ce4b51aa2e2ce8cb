"""tgtd is killed before or after any request that the agent sends it; the agent goes on, and so does the change.

Each change is made again and again, tgtd dying a little later each time, until it gets through alive.
LUNDOCK_FAULT_STRIDE says how many moments lie between two deaths; 1 is all of them.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from lundock_common.quantity import MIB
from target_image.agent.engines.tgt.engine import TgtEngine
from target_image.agent.engines.tgt.ipc import ManagementSocket
from target_image.agent.errors import AgentError
from target_image.agent.service.agent import Agent
from tests.target_image.conftest import MakeLocalAgent, make_local_agent, settings  # noqa: F401 - fixtures
from tests.target_image.service import test_crash_points as points
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

STRIDE = int(os.environ.get("LUNDOCK_FAULT_STRIDE", "2"))


class Death:
    """Counts the moments before and after each request of this thread, and kills tgtd at the chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        self._agent: Agent | None = None
        send = ManagementSocket.send

        def mortal(socket: ManagementSocket, request: Any) -> str:
            self._moment()
            answer = send(socket, request)
            self._moment()
            return answer

        monkeypatch.setattr(ManagementSocket, "send", mortal)

    @contextmanager
    def after(self, moments: int, agent: Agent) -> Iterator[None]:
        self._left, self._agent = moments, agent
        try:
            yield
        finally:
            self._agent = None

    @property
    def happened(self) -> bool:
        return self._left is None

    def _moment(self) -> None:
        if self._agent is None or self._left is None or threading.current_thread() is not threading.main_thread():
            return
        if self._left > 0:
            self._left -= 1
            return
        self._left = None
        engine = self._agent.engine
        assert isinstance(engine, TgtEngine)
        for daemon in engine._daemons:
            assert daemon._process is not None
            daemon._process.kill()


def served(chap: dict[str, str], size_mib: int, agent: Agent) -> None:
    points._served(agent, chap, size_mib * MIB)


@pytest.mark.parametrize(
    ("before", "work", "check"),
    [
        (
            points._make_volume,
            points._make_export,
            partial(served, points.OLD, 16),
        ),
        (points._make_export, points._grow, partial(served, points.OLD, 32)),
        (points._make_export, points._rotate, partial(served, points.NEW, 16)),
        (points._make_export, points._unexport, points._check_unexported),
    ],
    ids=["make-export", "grow", "rotate", "unexport"],
)
def test_tgtd_dies_at_any_request(
    make_local_agent: MakeLocalAgent,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    dice: random.Random,
    before: points.Work,
    work: points.Work,
    check: Callable[[Agent], None],
) -> None:
    death = Death(monkeypatch)
    agent = make_local_agent()
    for moments in range(dice.randrange(STRIDE), 1000, STRIDE):
        before(agent)
        restarts = agent.supervisor.restarts
        with death.after(moments, agent):
            goes_through(agent, work)
        if not death.happened:
            check(agent)
            assert moments > 3, "no tgtd ever died"
            return
        eventually(partial(is_back, agent, restarts), "a new tgtd")
        goes_through(agent, work, again=True)
        check(agent)
        points._reset(agent)
    pytest.fail("the change never got through")


def is_back(agent: Agent, restarts: int) -> bool:
    """Whether a tgtd was started since there had been this many restarts, and the agent is ready."""
    return agent.supervisor.restarts > restarts and agent.ready()


def goes_through(agent: Agent, work: points.Work, *, again: bool = False) -> None:
    """Asked once, where it may fail as the agent fails; or asked again until it is done, as the provisioner does."""

    def done() -> bool:
        try:
            work(agent)
        except AgentError:
            return False
        return True

    if again:
        eventually(done, "the change to be made")
    else:
        done()
