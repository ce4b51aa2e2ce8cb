"""A real HTTP server on loopback that serves files well or badly, as a test asks."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from target_image.api import fields
from target_image.api.requests import ImageSpec


@dataclass
class File:
    """What one path answers with."""

    body: bytes = b""
    redirect: str = ""
    status: int = 200
    ranges: bool = True
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which each answer in turn is cut off; answers after these are whole."""
    wait_s: float = 0.0
    """Silence before the second half of the body."""
    hold: threading.Event | None = None
    """The second half waits for this."""
    told_length: int | None = None
    drip_s: float = 0.0
    """If given: one byte at a time, with so long between two."""


@dataclass
class ImageServer:
    port: int
    files: dict[str, File] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of every request, in order."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def add(self, path: str, body: bytes = b"", **how: object) -> str:
        self.files[path] = File(body, **how)  # type: ignore[arg-type]
        return self.url(path)

    def spec(self, path: str, body: bytes, format: str = "raw", **how: object) -> ImageSpec:
        """Serve this, as an image of this format."""
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        return ImageSpec(urls=[self.add(path, body, **how)], digest=digest, format=fields.ImageFormat(format))


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[ImageServer]:
    """Serve until the end; over TLS if there is a context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append((self.path, self.headers.get("Range", "")))
            file = server.files.get(self.path)
            if file is None:
                self.send_error(404)
            elif file.redirect:
                self.send_response(302)
                self.send_header("Location", file.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._serve(file)

        def _serve(self, file: File) -> None:
            start = 0
            asked = self.headers.get("Range", "")
            if asked and file.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(file.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(file.body) - 1}/{len(file.body)}")
            else:
                self.send_response(file.status)
            body = file.body[start:]
            self.send_header("Content-Length", str(len(body) if file.told_length is None else file.told_length))
            self.end_headers()
            if file.breaks_after:
                self.wfile.write(body[: file.breaks_after.pop(0)])
                self.close_connection = True
                return
            for byte in body if file.drip_s else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(file.drip_s)
            if file.drip_s:
                return
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            if file.wait_s:
                time.sleep(file.wait_s)
            if file.hold is not None:
                file.hold.wait(30)
            self.wfile.write(body[half:])

        def log_message(self, *args: object) -> None:
            """The test looks at `requests` instead."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away in the middle is part of the tests."""

    http = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    server = ImageServer(http.server_port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
