"""Volumes that are filled in the background: each ends, one way or the other."""

from __future__ import annotations

import threading

import pytest

from target_image.agent.errors import AgentError
from target_image.agent.service.filling import Filling
from target_image.agent.state.rows import VolumeRecord
from target_image.api import fields, requests
from tests.target_image.conftest import MakeService, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def test_a_mistake_ends_as_a_failed_volume(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    def phase() -> fields.Phase:
        return service.volumes.get("copy").volume.phase

    service.volumes.ensure("origin", volume_spec())
    copy = volume_spec(source=requests.VolumeSource(volume="origin"))
    with monkeypatch.context() as patch:
        patch.setattr("target_image.agent.stores.sparse_file.SparseFileStore.fill", breaks)
        service.volumes.ensure("copy", copy)
        eventually(lambda: phase() is fields.Phase.FAILED, "the copy fails")
    condition = service.volumes.get("copy").volume.condition
    assert condition is not None
    assert "RuntimeError: a mistake" in condition.detail
    service.volumes.ensure("copy", copy)
    eventually(lambda: phase() is fields.Phase.READY, "the next attempt goes well")


def test_a_repeat_in_the_moment_of_failing_is_not_lost(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is told before the attempt has quite ended: whoever repeats the request then must be heard."""
    service = make_service()
    copy = volume_spec(source=requests.VolumeSource(volume="origin"))
    service.volumes.ensure("origin", volume_spec())
    fail, repeated = Filling._fail, threading.Event()

    def slow_fail(filling: Filling, volume: VolumeRecord, error: AgentError) -> None:
        fail(filling, volume, error)
        repeated.wait(30)

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Filling, "_fail", slow_fail)
    with monkeypatch.context() as patch:
        patch.setattr("target_image.agent.stores.sparse_file.SparseFileStore.fill", breaks)
        service.volumes.ensure("copy", copy)
        eventually(lambda: service.volumes.get("copy").volume.phase is fields.Phase.FAILED, "the copy fails")
    service.volumes.ensure("copy", copy)
    repeated.set()
    eventually(lambda: service.volumes.get("copy").volume.phase is fields.Phase.READY, "the repeat is done", 10)
