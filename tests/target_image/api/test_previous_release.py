"""The release before this one understands this one, and the reverse: its client, and its agent, over a real tgtd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.target_image import history
from tests.target_image.agent import AgentProcess
from tests.target_image.api import calls
from tests.target_image.conftest import MakeAgent

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the newest earlier release; of commit 8622457 as long as there is none."""
    commit = history.newest_release() or history.FIRST
    if not history.has_commit(commit):
        pytest.skip(f"the clone does not hold {commit}, the previous release: fetch the whole history")
    return history.extract(commit, tmp_path_factory.mktemp("previous"))


def test_the_previous_client_calls_this_agent(previous: Path, agent: AgentProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-P", calls.__file__, agent.url],
        env={**os.environ, "PYTHONPATH": str(previous)},
        cwd=previous,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_this_client_calls_the_previous_agent(previous: Path, make_agent: MakeAgent) -> None:
    agent = make_agent(name="previous", code=previous).start()
    calls.call_everything(agent.url)
