"""Events: said once, best effort, and never in the way."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from lundock_common import kubernetes_api
from lundock_common.kubernetes_api import Kube
from provisioner.kube.events import MESSAGE_LIMIT, Recorder, Subject
from tests.provisioner.twins import Api, Json
from tests.waiting import eventually

CLAIM = Subject("PersistentVolumeClaim", "ns", "disk", "u-1")
VOLUME = Subject("PersistentVolume", "", "pvc-u-1", "u-2")


def recorder(api: Api, **how: Any) -> Recorder:
    made = Recorder(cast(Kube, api), "iscsi.lundock.io", **how)
    made.start()
    return made


def test_an_event_is_about_its_object_and_lies_in_its_namespace() -> None:
    api = Api()
    told = recorder(api)
    told.normal(CLAIM, "ProvisioningSucceeded", "made")
    told.warning(VOLUME, "VolumeFailedDelete", "InUse: still")
    told.stop()
    first, second = sorted(api.under("events"), key=lambda event: event["involvedObject"]["kind"])
    assert (first["metadata"]["namespace"], first["involvedObject"]["uid"]) == ("default", "u-2")
    assert (second["metadata"]["namespace"], second["type"]) == ("ns", "Normal")
    assert second["source"] == {"component": "iscsi.lundock.io"}


def test_the_same_is_said_once_and_counted_when_it_is_said_again_later() -> None:
    api = Api()
    told = recorder(api, repeat_after_s=0)
    told.warning(CLAIM, "ProvisioningFailed", "NoSpace: 5 bytes left", key="NoSpace")
    told.warning(CLAIM, "ProvisioningFailed", "NoSpace: 3 bytes left", key="NoSpace")
    told.stop()
    (event,) = api.under("events")
    assert (event["count"], event["message"]) == (2, "NoSpace: 3 bytes left")
    calls = len(api.calls)
    told = recorder(api)
    for _ in range(10):
        told.warning(CLAIM, "ProvisioningFailed", "NoSpace: 1 byte left", key="NoSpace")
    told.stop()
    assert len(api.under("events")) == 1, "another process says the same of the same claim"
    assert len(api.calls) == calls + 2, "once: an attempt to make it, and the change of what is there"


def test_a_message_is_cut_to_what_the_api_server_takes() -> None:
    api = Api()
    told = recorder(api)
    told.normal(CLAIM, "Provisioning", "x" * 5000)
    told.stop()
    (event,) = api.under("events")
    assert len(event["message"]) == MESSAGE_LIMIT


@pytest.mark.parametrize("error", [kubernetes_api.OutcomeUnknown("away"), RuntimeError("a mistake")])
def test_an_event_that_cannot_be_posted_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    api = Api()
    create, failures = api.create, [error]

    def fails_once(path: str, body: Json) -> Json:
        if failures:
            raise failures.pop()
        return create(path, body)

    monkeypatch.setattr(api, "create", fails_once)
    told = recorder(api)
    told.normal(CLAIM, "Provisioning", "lost")
    told.normal(CLAIM, "Provisioning", "posted")
    told.stop()
    assert [event["message"] for event in api.under("events")] == ["posted"]


def test_too_many_are_dropped_and_the_caller_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    api, hold = Api(), threading.Event()
    create = api.create

    def waits(path: str, body: Json) -> Json:
        hold.wait(10)
        return create(path, body)

    monkeypatch.setattr(api, "create", waits)
    told = recorder(api, capacity=2)
    told.normal(CLAIM, "Provisioning", "first")
    eventually(lambda: told._queue.empty(), "the first to be taken")
    for number in range(50):
        told.normal(CLAIM, "Provisioning", f"number {number}")
    hold.set()
    told.stop()
    assert len(api.under("events")) == 3


def test_who_never_led_ends_without_having_posted() -> None:
    Recorder(cast(Kube, Api()), "iscsi.lundock.io").stop()
