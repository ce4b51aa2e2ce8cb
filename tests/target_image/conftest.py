"""Fixtures of the target's tests: an agent as a process of its own, and one in this process, both over real tgtd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from lundock_common.quantity import MIB
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings
from target_image.api import requests
from target_image.api.client import TargetClient
from tests.capabilities import need
from tests.target_image.agent import AgentProcess
from tests.waiting import eventually

MakeAgent = Callable[..., AgentProcess]
MakeLocalAgent = Callable[..., Agent]


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[MakeAgent]:
    """Makes agents in one folder each; all of them are stopped at the end."""
    need("tgtd")
    agents: list[AgentProcess] = []

    def make(*options: str, name: str = "agent", shards: int = 1, code: Path | None = None) -> AgentProcess:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        agents.append(AgentProcess(folder, *options, shards=shards, code=code))
        return agents[-1]

    yield make
    for agent in agents:
        agent.stop()


@pytest.fixture(scope="session")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    need("tgtd")
    agent = AgentProcess(tmp_path_factory.mktemp("agent"))
    yield agent
    agent.stop()


@pytest.fixture
def agent(shared_agent: AgentProcess) -> Iterator[AgentProcess]:
    """A running agent with nothing on it. One for all tests, since a start takes seconds; a test may kill it."""
    if not shared_agent.running():
        _empty(shared_agent.start())  # the test that ended it could not
    yield shared_agent
    if shared_agent.running():
        _empty(shared_agent)


def _empty(agent: AgentProcess) -> None:
    with agent.client() as client:
        for export in client.list_exports():
            client.delete_export(export.id, force=True)
        for volume in client.list_volumes():
            client.delete_volume(volume.id)


@pytest.fixture
def client(agent: AgentProcess) -> Iterator[TargetClient]:
    with agent.client() as client:
        yield client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        run_dir=tmp_path / "run",
        share_dir=tmp_path,
        iscsi_addresses=("127.0.0.1",),
        iscsi_port=free_ports(),
        delete_grace_s=0.0,
        check_interval_s=0.2,
    )


@pytest.fixture
def make_local_agent(settings: Settings) -> Iterator[MakeLocalAgent]:
    """Makes started agents on one data folder, one after the other; the last one is stopped at the end."""
    need("tgtd")
    agents: list[Agent] = []

    def make() -> Agent:
        agents.append(Agent(settings))
        agents[-1].start()
        eventually(agents[-1].supervisor.opened.is_set, "the engine serves")
        return agents[-1]

    yield make
    if agents:
        agents[-1].stop()


def volume_spec(size_mib: int = 16, source: requests.Source | None = None) -> requests.VolumeSpec:
    return requests.VolumeSpec(size_bytes=size_mib * MIB, source=source or requests.EmptySource())


def export_spec(volume: str, **more: object) -> requests.ExportSpec:
    return requests.ExportSpec.model_validate({"luns": [{"lun": 1, "volume": volume}], **more})
