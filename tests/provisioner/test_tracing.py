from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from provisioner.errors import SettingsError
from provisioner.observing import tracing
from provisioner.settings import TracingSettings


def test_without_a_collector_a_span_is_nothing() -> None:
    tracing.start(TracingSettings(), "ns/x")
    with tracing.span("reconcile claim", key="ns/a") as nothing:
        assert nothing is None


def test_a_collector_without_the_extra_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"lundock\[tracing\]"):
        tracing.start(TracingSettings(otlp_endpoint="http://127.0.0.1:1/v1/traces"), "ns/x")


def test_spans_reach_a_collector() -> None:
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        tracing.start(TracingSettings(otlp_endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces"), "ns/x")
        with tracing.span("reconcile claim", key="ns/traced"):
            pass
        tracing.stop()
    finally:
        server.shutdown()
        server.server_close()
    assert b"reconcile claim" in b"".join(bodies)
    assert b"ns/traced" in b"".join(bodies)
