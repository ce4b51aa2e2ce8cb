"""Today's client reads what the agents of recorded commits answered, and today's agent takes what they took."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from target_image.api import problems, requests, responses
from target_image.api.client import ApiProblem, TargetClient
from tests.target_image import recorded
from tests.target_image.api.test_client import server
from tests.target_image.recorded import Answer

MODELS: dict[str, type[BaseModel]] = {
    r"/v1/volumes": responses.VolumeList,
    r"/v1/volumes/[^/]+(/trash)?": responses.Volume,
    r"/v1/exports": responses.ExportList,
    r"/v1/exports/[^/]+": responses.Export,
    r"/v1/images": responses.ImageList,
    r"/v1/images/[^/]+": responses.Image,
    r"/v1/sessions": responses.SessionList,
    r"/v1/capabilities": responses.Capabilities,
    r"/v1/capacity": responses.Capacity,
}
SPECS: dict[str, type[BaseModel]] = {
    "volumes": requests.VolumeSpec,
    "exports": requests.ExportSpec,
    "images": requests.ImageSpec,
}
ALL = [answer for folder in recorded.FOLDERS for answer in recorded.answers(folder)]


def model(answer: Answer) -> type[BaseModel] | None:
    if answer.status >= 400:
        return problems.Problem
    return next((found for path, found in MODELS.items() if re.fullmatch(path, answer.path)), None)


@pytest.mark.parametrize("answer", ALL, ids=str)
def test_an_answer_is_read_whole(answer: Answer) -> None:
    kind = model(answer)
    if kind is None or answer.content is None:
        assert answer.path in ("/healthz", "/readyz") or answer.status == 204
        return
    assert kind.model_validate_json(json.dumps(answer.content)).model_dump(mode="json") == answer.content


@pytest.mark.parametrize("answer", ALL, ids=str)
def test_a_request_is_still_taken(answer: Answer) -> None:
    if answer.sent is None or answer.path == "/v1/volumes/typo":
        return
    SPECS[answer.path.split("/")[2]].model_validate_json(json.dumps(answer.sent))


@pytest.mark.parametrize("folder", recorded.FOLDERS, ids=lambda folder: folder.name)
def test_the_client_reads_every_list(folder: Path) -> None:
    calls: dict[str, Callable[[TargetClient], Sequence[BaseModel]]] = {
        "/v1/volumes": TargetClient.list_volumes,
        "/v1/exports": TargetClient.list_exports,
        "/v1/images": TargetClient.list_images,
        "/v1/sessions": TargetClient.sessions,
    }
    for path, call in calls.items():
        content = recorded.answered(folder, path)
        with server(200, json.dumps(content).encode()) as (url, _), TargetClient(url) as client:
            assert [each.model_dump(mode="json") for each in call(client)] == content["items"]


@pytest.mark.parametrize("answer", [each for each in ALL if each.status >= 400], ids=str)
def test_the_client_knows_every_problem(answer: Answer) -> None:
    with (
        server(answer.status, json.dumps(answer.content).encode(), answer.headers) as (url, _),
        TargetClient(url) as client,
        pytest.raises(ApiProblem) as caught,
    ):
        client.delete_export("any")
    assert caught.value.code == answer.content["code"]
    assert caught.value.retryable is answer.content["retryable"]
    assert [each.model_dump(mode="json") for each in caught.value.sessions] == answer.content["sessions"]
