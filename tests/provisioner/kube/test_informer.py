"""The informer against an API server that plays a script over real sockets: 410, silence, refusals, bookmarks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.client import Configuration

from lundock_common import kubernetes_api
from lundock_common.kubernetes_api import VOLUMES, Kube
from lundock_common.limits import Pace
from lundock_common.retry import Backoff
from provisioner.kube.informer import Informer
from tests.waiting import eventually

Script = Callable[["Handler", dict[str, str]], object]


class ScriptedServer(ThreadingHTTPServer):
    """Answers by a script, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.asked: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.server.asked.append(query)
        self.server.script(self, query)

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, *events: dict[str, Any], end: bool = True) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            # In two chunks: an event need not come in one piece.
            for part in (line[:7], line[7:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if end:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None: ...


def pv(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version), "managedFields": [{}]}}


def listing(version: int, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


GONE = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})


@contextmanager
def serving(script: Script) -> Iterator[tuple[Informer, list[tuple[str, str]], list[dict[str, str]]]]:
    """An informer on a server with this script, what it told its handler, and what the server was asked."""
    server = ScriptedServer(script)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told: list[tuple[str, str]] = []

    def handler(old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        what = "added" if old is None else "changed" if new is not None else "deleted"
        told.append((what, (new or old or {})["metadata"]["name"]))

    client = Kube(Configuration(host=f"http://127.0.0.1:{server.server_port}"), Pace())
    informer = Informer(client, VOLUMES, handler, Backoff(0.01, 0.05))
    informer.start()
    try:
        yield informer, told, server.asked
    finally:
        informer.stop()
        server.shutdown()
        server.server_close()


def once(*steps: Script) -> Script:
    """Each request gets the next step; the last one stays for all others."""
    left = list(steps)

    def script(handler: Handler, query: dict[str, str]) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler, query)

    return script


def quiet(handler: Handler, _query: dict[str, str]) -> None:
    """A watch in which nothing happens until the client goes."""
    handler.stream(end=False)
    handler.rfile.read(1)


def test_it_lists_in_pages_and_follows() -> None:
    script = once(
        lambda h, _: h.answer(200, listing(5, pv("a", 1), more="next")),
        lambda h, _: h.answer(200, listing(5, pv("b", 2))),
        lambda h, _: h.stream(event("ADDED", pv("c", 6)), event("MODIFIED", pv("a", 7)), event("DELETED", pv("b", 8))),
        quiet,
    )
    with serving(script) as (informer, told, asked):
        eventually(lambda: len(asked) >= 4, "the watch to be resumed")
        assert told == [("added", "a"), ("added", "b"), ("added", "c"), ("changed", "a"), ("deleted", "b")]
        assert asked[1]["continue"] == "next"
        assert (asked[2]["resourceVersion"], asked[3]["resourceVersion"]) == ("5", "8")
        assert "managedFields" not in (informer.get("a") or {})["metadata"]
        assert sorted(item["metadata"]["name"] for item in informer.items()) == ["a", "c"]


def test_a_bookmark_keeps_the_resource_version_young() -> None:
    script = once(lambda h, _: h.answer(200, listing(5)), lambda h, _: h.stream(event("BOOKMARK", pv("", 90))), quiet)
    with serving(script) as (_, told, asked):
        eventually(lambda: len(asked) >= 3, "the watch to be resumed")
        assert (asked[1]["allowWatchBookmarks"], asked[2]["resourceVersion"]) == ("true", "90")
        assert told == []


@pytest.mark.parametrize(
    "gone",
    [
        lambda h, _: h.stream(GONE),
        lambda h, _: h.answer(410, {"kind": "Status", "reason": "Expired", "message": "too old"}),
    ],
)
def test_gone_means_list_again_and_tell_what_was_missed(gone: Script) -> None:
    script = once(
        lambda h, _: h.answer(200, listing(5, pv("a", 1), pv("b", 2))),
        gone,
        lambda h, _: h.answer(200, listing(9, pv("a", 8), pv("c", 9))),
        quiet,
    )
    with serving(script) as (_, told, asked):
        eventually(lambda: len(told) >= 5, "the second list")
        assert sorted(told[2:]) == [("added", "c"), ("changed", "a"), ("deleted", "b")]
        assert sum("watch" not in query for query in asked) == 2


def test_a_half_open_socket_is_given_up_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "SILENCE_S", 0.1)
    script = once(
        lambda h, _: h.answer(200, listing(5)), quiet, lambda h, _: h.stream(event("ADDED", pv("a", 6))), quiet
    )
    with serving(script) as (_, told, asked):
        eventually(lambda: told, "the event after the silence")
        assert asked[2]["resourceVersion"] == "5"
        assert sum("watch" not in query for query in asked) == 1


def test_a_server_that_refuses_is_asked_again() -> None:
    unavailable = {"kind": "Status", "reason": "ServiceUnavailable", "message": "starting"}
    script = once(
        lambda h, _: h.answer(503, unavailable),
        lambda h, _: h.answer(500, {}),
        lambda h, _: h.wfile.write(b"not HTTP at all\r\n\r\n"),
        lambda h, _: h.answer(200, listing(5, pv("a", 1))),
        quiet,
    )
    with serving(script) as (informer, told, _):
        assert informer.wait_synced(20)
        assert told == [("added", "a")]


def test_a_handlers_mistake_ends_nothing() -> None:
    script = once(
        lambda h, _: h.answer(200, listing(5)),
        lambda h, _: h.stream(event("ADDED", {"metadata": {}})),
        lambda h, _: h.answer(200, listing(7, pv("a", 6))),
        quiet,
    )
    with serving(script) as (_, told, _asked):
        eventually(lambda: told == [("added", "a")], "the list after the mistake")


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", kubernetes_api.NotFound),
        (409, "AlreadyExists", kubernetes_api.AlreadyExists),
        (409, "Conflict", kubernetes_api.Conflict),
        (410, "Expired", kubernetes_api.Expired),
        (429, "TooManyRequests", kubernetes_api.Throttled),
        (403, "Forbidden", kubernetes_api.Refused),
    ],
)
def test_refusals_have_kinds(status: int, reason: str, kind: type[kubernetes_api.Refused]) -> None:
    body = {"kind": "Status", "reason": reason, "message": "no"}
    server = ScriptedServer(lambda h, _: h.answer(status, body))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = Kube(Configuration(host=f"http://127.0.0.1:{server.server_port}"), Pace())
        with pytest.raises(kind) as caught:
            client.get("/api/v1/persistentvolumes/x")
        assert type(caught.value) is kind
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_there_is_an_unknown_outcome() -> None:
    client = Kube(Configuration(host="http://127.0.0.1:1"), Pace())
    with pytest.raises(kubernetes_api.OutcomeUnknown):
        client.create("/api/v1/persistentvolumes", {})


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/persistentvolumes/x", "persistentvolumes"),
        ("/api/v1/namespaces/ns/secrets", "secrets"),
        ("/api/v1/namespaces/ns/persistentvolumeclaims/a/status", "persistentvolumeclaims"),
        ("/api/v1/namespaces/kube-system", "namespaces"),
        ("/apis/storage.k8s.io/v1/storageclasses", "storageclasses"),
        ("/version", "version"),
    ],
)
def test_what_a_call_is_counted_by(path: str, resource: str) -> None:
    assert kubernetes_api.resource_of(path) == resource
