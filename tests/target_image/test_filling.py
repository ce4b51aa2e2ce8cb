"""Volumes that are filled in the background: each ends, one way or the other."""

from __future__ import annotations

import pytest

from target_image.agent import wire
from tests.target_image.conftest import MakeService, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def test_a_mistake_ends_as_a_failed_volume(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    def phase() -> wire.Phase:
        return service.volumes.get("copy").volume.phase

    service.volumes.ensure("origin", volume_spec())
    copy = volume_spec(source=wire.VolumeSource(volume="origin"))
    with monkeypatch.context() as patch:
        patch.setattr("target_image.agent.stores.sparse_file.SparseFileStore.fill", breaks)
        service.volumes.ensure("copy", copy)
        eventually(lambda: phase() is wire.Phase.FAILED, "the copy fails")
    condition = service.volumes.get("copy").volume.condition
    assert condition is not None
    assert "RuntimeError: a mistake" in condition.detail
    service.volumes.ensure("copy", copy)
    eventually(lambda: phase() is wire.Phase.READY, "the next attempt goes well")
