"""Codes are part of the contract: each error of the agent has one of its own, and all of them are listed."""

from __future__ import annotations

from collections.abc import Iterator

from target_image.agent.errors import AgentError
from target_image.api.problems import Code, Problem
from tests.target_image import recorded


def errors(kind: type[AgentError] = AgentError) -> Iterator[type[AgentError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == AgentError.__module__:
            yield from errors(child)


def test_each_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in errors()]
    assert len(set(codes)) == len(codes) > 20


def test_every_recorded_code_is_listed() -> None:
    for folder in recorded.FOLDERS:
        for answer in recorded.answers(folder):
            if answer.status >= 400:
                assert Code(answer.content["code"])


def test_a_code_of_a_newer_agent_is_read() -> None:
    newer = {"type": "t", "title": "t", "status": 409, "detail": "d", "code": "quota-exceeded", "retryable": False}
    assert Problem.model_validate(newer | {"quota_bytes": 1}).code == "quota-exceeded"
