"""The agent's twin answers as the real agent does: the same scenarios run on both, through TargetClient's methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest

from tests.capabilities import need
from tests.provisioner.agent_twin import Agent, TargetCalls
from tests.provisioner.contract.outcomes import observe
from tests.provisioner.contract.scenarios import (
    EXPORTED,
    IN_USE_SCENARIOS,
    MADE,
    SCENARIOS,
    VOLUME,
    exported,
    password_of,
)
from tests.target_image.agent import AgentProcess
from tests.target_image.initiator import Session
from tests.waiting import eventually


class Side(Protocol):
    """The twin or a real agent, with nothing on it."""

    @property
    def calls(self) -> TargetCalls: ...

    def logged_in(self, export: str) -> AbstractContextManager[None]:
        """While one session of the export lives."""


class TwinSide:
    def __init__(self) -> None:
        self._agent = Agent()

    @property
    def calls(self) -> TargetCalls:
        return self._agent

    @contextmanager
    def logged_in(self, export: str) -> Iterator[None]:
        self._agent.set_sessions(export, 1)
        yield
        self._agent.set_sessions(export, 0)


class RealSide:
    def __init__(self, process: AgentProcess) -> None:
        self._process = process
        self._client = process.client()

    @property
    def calls(self) -> TargetCalls:
        return self._client

    @contextmanager
    def logged_in(self, export: str) -> Iterator[None]:
        need("qemu-iscsi")
        with Session(self._process.login(export, export, password_of(export))):
            yield
        eventually(lambda: not self._client.sessions(), "the session to end")

    def clear(self) -> None:
        for export in self._client.list_exports():
            self._client.delete_export(export.id, force=True)
        for volume in self._client.list_volumes():
            self._client.delete_volume(volume.id)
        self._client.close()


@pytest.fixture(scope="module")
def agent_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    need("tgtd")
    process = AgentProcess(tmp_path_factory.mktemp("agent"), "--image-hosts=127.0.0.1")
    yield process.start()
    process.stop()


@pytest.fixture(params=["twin", pytest.param("real", marks=pytest.mark.integration)])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "twin":
        yield TwinSide()
        return
    real = RealSide(request.getfixturevalue("agent_process"))
    yield real
    real.clear()


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_call_ends_as_it_does_on_a_real_agent(side: Side, name: str) -> None:
    steps = SCENARIOS[name]
    assert [observe(call, side.calls) for call, _ in steps] == [outcome for _, outcome in steps]


@pytest.mark.parametrize("name", IN_USE_SCENARIOS)
def test_each_call_ends_as_it_does_on_a_real_agent_while_a_session_lives(side: Side, name: str) -> None:
    steps = IN_USE_SCENARIOS[name]
    assert [observe(call, side.calls) for call, _ in (MADE, EXPORTED)] == [VOLUME, exported()]
    with side.logged_in("a"):
        assert [observe(call, side.calls) for call, _ in steps] == [outcome for _, outcome in steps]
