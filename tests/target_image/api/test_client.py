"""The client against servers that answer wrongly, late or not at all; its right answers are in the other tests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from target_image.api import fields, responses
from target_image.api.client import ApiProblem, OutcomeUnknown, TargetClient, TargetError, Unreachable
from tests.target_image.conftest import export_spec, volume_spec

TIMEOUT_S = 0.5


@contextmanager
def server(
    status: int, body: bytes, headers: dict[str, str] | None = None
) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server with one answer for everything; it keeps what it was asked."""
    asked: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((f"{self.command} {self.path} {self.headers.get('Authorization')}", content))
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = _answer  # noqa: N815 - the names are http.server's

        def log_message(self, *_: object) -> None:
            return

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def silent_server(*, close: bool) -> Iterator[str]:
    """A server that takes the request and says nothing, or closes the connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if not close:
                    done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("close", [True, False])
def test_without_an_answer_the_outcome_is_unknown(close: bool) -> None:
    with silent_server(close=close) as url, TargetClient(url, timeout_s=TIMEOUT_S) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            client.ensure_volume("disk", volume_spec())
        assert caught.value.retryable


def test_a_refused_connection_changed_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with TargetClient(url, timeout_s=TIMEOUT_S) as client, pytest.raises(Unreachable):
            client.ensure_volume("disk", volume_spec())


def test_a_problem_is_told_whole() -> None:
    session = {"export": "e", "iqn": "iqn.2026-11.test:e", "session": 1, "initiator": "i", "addresses": []}
    problem = {
        "type": "t",
        "title": "t",
        "status": 409,
        "detail": "d",
        "code": "in-use",
        "retryable": True,
        "sessions": [session],
    }
    with (
        server(409, json.dumps(problem).encode(), {"Retry-After": "7"}) as (url, _),
        TargetClient(url) as client,
        pytest.raises(ApiProblem) as caught,
    ):
        client.delete_export("e")
    error = caught.value
    assert (error.code, error.status, error.retryable, error.retry_after_s) == ("in-use", 409, True, 7.0)
    assert [session.initiator for session in error.sessions] == ["i"]


@pytest.mark.parametrize(("status", "retryable"), [(502, True), (404, False), (301, False)])
def test_what_is_no_target_is_named_so(status: int, retryable: bool) -> None:
    with (
        server(status, b"<html>", {"Location": "http://elsewhere.invalid"}) as (url, _),
        TargetClient(url) as client,
        pytest.raises(TargetError) as caught,
    ):
        client.get_volume("disk")
    assert caught.value.retryable is retryable
    assert "target" in str(caught.value)


def test_an_answer_of_another_kind_is_an_error() -> None:
    with (
        server(200, b'{"surprise": 1}') as (url, _),
        TargetClient(url) as client,
        pytest.raises(TargetError, match="not a Capacity"),
    ):
        client.capacity()


def test_not_found_is_none() -> None:
    problem = {"type": "t", "title": "t", "status": 404, "detail": "d", "code": "not-found", "retryable": False}
    with server(404, json.dumps(problem).encode()) as (url, _), TargetClient(url) as client:
        assert (client.get_volume("a"), client.get_export("a"), client.get_image("a")) == (None, None, None)


def test_the_token_file_is_read_for_every_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with server(200, b'{"items": []}') as (url, asked), TargetClient(url, token_file=token) as client:
        with pytest.raises(Unreachable, match="token file"):
            client.list_volumes()
        for text in ("first\n", "second"):
            token.write_text(text)
            client.list_volumes()
    assert [line.rsplit(" ", 2)[1:] for line, _ in asked] == [["Bearer", "first"], ["Bearer", "second"]]


def test_passwords_are_sent_and_nothing_else_hides_them() -> None:
    spec = export_spec("disk", chap={"username": "disk", "password": "a-long-password"})
    answer = responses.Export(
        id="disk",
        iqn="iqn.2026-11.test:disk",
        luns=[],
        access=responses.Access(),
        chap=None,
        owner=None,
        shard=0,
        portals=[],
        phase=fields.Phase.READY,
    )
    with server(201, answer.model_dump_json().encode()) as (url, asked), TargetClient(url) as client:
        client.ensure_export("disk", spec)
    assert json.loads(asked[0][1])["chap"]["password"] == "a-long-password"
    assert "a-long-password" not in repr(spec)
