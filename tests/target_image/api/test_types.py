"""Requests refuse what they do not know, answers are read in spite of it, and what is repeated is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from target_image.api import echo, fields, requests, responses
from target_image.api.client import TargetClient, TargetError
from tests.target_image import recorded
from tests.target_image.api.test_client import server

VOLUME: dict[str, Any] = {
    "id": "disk",
    "size_bytes": 1,
    "allocated_bytes": 0,
    "source": {"type": "none"},
    "owner": None,
    "thin": True,
    "phase": "ready",
    "created_at": "2026-11-01T00:00:00Z",
}
SNAPSHOT = {"type": "snapshot", "snapshot": "monday"}


def test_a_request_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        requests.VolumeSpec.model_validate({"size_bytes": 1, "sise": 1})
    with pytest.raises(ValidationError, match="Extra inputs"):
        requests.Owner.model_validate({"cluster": "c", "release": "r", "team": "t"})


def test_an_answer_with_unknown_fields_is_read() -> None:
    newer = VOLUME | {"encrypted": True, "owner": {"cluster": "c", "release": "r", "team": "t"}}
    volume = responses.Volume.model_validate(newer)
    assert volume.owner == responses.Owner(cluster="c", release="r")


def test_an_unknown_phase_is_neither_ready_nor_failed() -> None:
    assert responses.Volume.model_validate(VOLUME | {"phase": "migrating"}).phase is fields.Phase.UNKNOWN
    with pytest.raises(ValidationError):
        responses.Volume.model_validate(VOLUME | {"phase": 1})


def test_an_unknown_source_is_read_and_not_repeated() -> None:
    content = VOLUME | {"source": SNAPSHOT}
    volume = responses.Volume.model_validate(content)
    assert volume.source == responses.OtherSource(type="snapshot")
    with pytest.raises(ValueError, match="'snapshot'"):
        echo.source(volume.source)
    with (
        server(200, json.dumps(content).encode(), {"ETag": '"1"'}) as (url, asked),
        TargetClient(url) as client,
        pytest.raises(TargetError, match="'snapshot'"),
    ):
        client.grow_volume("disk", 2)
    assert [line.split()[0] for line, _ in asked] == ["GET"]


class NewerOwner(responses.Owner):
    team: str = "blue"


class NewerLun(responses.Lun):
    encrypted: bool = True


class NewerAccess(responses.Access):
    hours: str = "9-17"


def test_what_only_the_answer_has_is_not_repeated() -> None:
    owner = NewerOwner(cluster="c", release="r", namespace="n", claim="data", claim_uid="u")
    assert echo.owner(owner) == requests.Owner(cluster="c", release="r", namespace="n", claim="data", claim_uid="u")
    export = responses.Export(
        id="disk",
        iqn="iqn.2026-11.test:disk",
        luns=[NewerLun(lun=1, volume="disk", read_only=True)],
        access=NewerAccess(initiators=["iqn.2026-11.test:host"], networks=["10.0.0.0/8"]),
        chap=None,
        owner=owner,
        shard=0,
        portals=[],
        phase=fields.Phase.READY,
    )
    assert echo.luns(export) == [requests.Lun(lun=1, volume="disk", read_only=True)]
    assert echo.access(export) == requests.Access(initiators=["iqn.2026-11.test:host"], networks=["10.0.0.0/8"])


@pytest.mark.parametrize("folder", recorded.FOLDERS, ids=lambda folder: folder.name)
def test_what_was_answered_can_be_asked_for_again(folder: Path) -> None:
    for item in recorded.answered(folder, "/v1/volumes")["items"]:
        spec = echo.volume_spec(responses.Volume.model_validate(item), size_bytes=item["size_bytes"])
        assert spec.model_dump(mode="json") == {name: item[name] for name in ("size_bytes", "source", "owner", "thin")}
    for item in recorded.answered(folder, "/v1/exports")["items"]:
        again = echo.export_spec(responses.Export.model_validate(item), None).model_dump(mode="json")
        assert again == {name: item[name] for name in ("iqn", "luns", "access", "owner")} | {"chap": None}
