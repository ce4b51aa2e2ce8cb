"""/healthz, /readyz and /metrics on one or two ports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from provisioner.settings import HttpSettings

Page = Callable[[], tuple[int, bytes]]
"""Status and body of one path."""


def _check(ok: Callable[[], bool], name: str) -> Page:
    def page() -> tuple[int, bytes]:
        return (200, b"ok\n") if ok() else (503, f"not {name}\n".encode())

    return page


class HealthServer:
    """Serves in the background until `stop`."""

    def __init__(
        self,
        settings: HttpSettings,
        healthy: Callable[[], bool],
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
    ) -> None:
        pages: dict[int, dict[str, Page]] = {}
        if settings.health_port:
            pages.setdefault(settings.health_port, {}).update(
                {"/healthz": _check(healthy, "healthy"), "/readyz": _check(ready, "ready")}
            )
        if settings.metrics_port:
            pages.setdefault(settings.metrics_port, {})["/metrics"] = lambda: (200, metrics())
        self._servers = [ThreadingHTTPServer((settings.address, port), _handler(own)) for port, own in pages.items()]

    def start(self) -> None:
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(pages: dict[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, body = page() if page else (404, b"not found\n")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are no news."""

    return Handler
