"""A proxy that breaks what goes through it: between the provisioner and the API server, or the target's agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from cluster.components.arguments import ADMINISTRATORS
from cluster.components.control_plane import ControlPlane

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "accept-encoding", "content-encoding"}


@dataclass(frozen=True)
class Fault:
    """One way to go wrong. The outcome of a lost answer is unknown to the caller: the call was made."""

    status: int = 0
    """Answer with this status instead of making the call."""
    lose_answer: bool = False
    """Make the call and end the connection without an answer."""
    delay_s: float = 0
    """Make the caller wait before anything else."""
    then: Callable[[], object] | None = None
    """Called when the call was made, before its answer is passed on."""


class Proxy:
    """Plain HTTP on loopback, forwarded to `upstream`. `choose` is asked for each call, and may change at any time."""

    def __init__(self, upstream: str, **connection: Any) -> None:
        self.choose: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.faults = 0
        self._upstream, self._connection = upstream, connection
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                f"{self._upstream}{path}",
                headers=headers,
                data=body,
                stream=True,
                timeout=(10, 700),
                **self._connection,
            )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_call(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.choose(self.command, self.path) or Fault()
                proxy.faults += fault != Fault()
                time.sleep(fault.delay_s)
                if fault.status:
                    self.send_response(fault.status)
                    self.send_header("Content-Length", "0")
                    self.send_header("Retry-After", "1")
                    self.end_headers()
                    return
                headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
                with proxy.forward(self.command, self.path, headers, body) as answer:
                    if fault.then is not None:
                        fault.then()
                    if fault.lose_answer:
                        self.close_connection = True
                    else:
                        self._pass_on(answer)

            def _pass_on(self, answer: requests.Response) -> None:
                self.send_response(answer.status_code)
                for key, value in answer.headers.items():
                    if key.lower() not in HOP_BY_HOP:
                        self.send_header(key, value)
                # Chunked, as the API server does it: a watch's reader sees each event when it comes.
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for chunk in answer.iter_content(chunk_size=None):
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

            def handle(self) -> None:
                try:
                    super().handle()
                except (OSError, requests.RequestException):  # either end has gone: that is what this is for
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a fault is not news here."""

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_call  # noqa: N815 (http.server's names)

        return Handler


@contextmanager
def before_api_server(plane: ControlPlane, folder: Path) -> Iterator[tuple[Proxy, Path]]:
    """A proxy in front of the API server, and a kubeconfig that goes through it as the administrator."""
    pair = plane.authority.issue("faults", "faults", [ADMINISTRATORS])
    connection = {"cert": (str(pair.certificate), str(pair.key)), "verify": str(plane.authority.files.certificate)}
    with Proxy(plane.url, **connection).running() as proxy:
        kubeconfig = folder / "proxy.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": proxy.url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }
        kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield proxy, kubeconfig
