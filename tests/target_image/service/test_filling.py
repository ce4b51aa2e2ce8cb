"""Volumes that are filled in the background: each ends, one way or the other."""

from __future__ import annotations

import threading

import pytest

from target_image.agent.errors import AgentError
from target_image.agent.service.filling import Filling
from target_image.agent.state.rows import VolumeRecord
from target_image.api import fields, requests
from tests.target_image.conftest import MakeLocalAgent, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def test_a_mistake_ends_as_a_failed_volume(make_local_agent: MakeLocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_local_agent()

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    def phase() -> fields.Phase:
        return agent.volumes.get("copy").answer.phase

    agent.volumes.ensure("origin", volume_spec())
    copy = volume_spec(source=requests.VolumeSource(volume="origin"))
    with monkeypatch.context() as patch:
        patch.setattr("target_image.agent.stores.sparse_file.SparseFileStore.fill", breaks)
        agent.volumes.ensure("copy", copy)
        eventually(lambda: phase() is fields.Phase.FAILED, "the copy fails")
    condition = agent.volumes.get("copy").answer.condition
    assert condition is not None
    assert "RuntimeError: a mistake" in condition.detail
    agent.volumes.ensure("copy", copy)
    eventually(lambda: phase() is fields.Phase.READY, "the next attempt goes well")


def test_a_repeat_in_the_moment_of_failing_is_not_lost(
    make_local_agent: MakeLocalAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is told before the attempt has quite ended: whoever repeats the request then must be heard."""
    agent = make_local_agent()
    copy = volume_spec(source=requests.VolumeSource(volume="origin"))
    agent.volumes.ensure("origin", volume_spec())
    fail, repeated = Filling._save_failure, threading.Event()

    def slow_fail(filling: Filling, volume: VolumeRecord, error: AgentError) -> None:
        fail(filling, volume, error)
        repeated.wait(30)

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Filling, "_save_failure", slow_fail)
    with monkeypatch.context() as patch:
        patch.setattr("target_image.agent.stores.sparse_file.SparseFileStore.fill", breaks)
        agent.volumes.ensure("copy", copy)
        eventually(lambda: agent.volumes.get("copy").answer.phase is fields.Phase.FAILED, "the copy fails")
    agent.volumes.ensure("copy", copy)
    repeated.set()
    eventually(lambda: agent.volumes.get("copy").answer.phase is fields.Phase.READY, "the repeat is done", 10)
