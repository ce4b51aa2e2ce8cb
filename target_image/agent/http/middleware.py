"""What surrounds every request of the API: its id, the bound of its body, a metric and a line in the log."""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus

import structlog
from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from target_image.agent.http.metrics import Metrics
from target_image.agent.http.problems import problem_response

log = structlog.get_logger()


class RequestMiddleware:
    """Gives each request an id, a bound of its body, a metric and a line in the log.

    Plain ASGI: Starlette's `middleware("http")` runs every request in a task of its own, behind two streams.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, metrics: Metrics) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, status = Request(scope), HTTPStatus.INTERNAL_SERVER_ERROR.value
        request.state.id = uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.state.id)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request.state.id
            await send(message)

        began = time.monotonic()
        try:
            await (self._refuse_body(request) or self._app)(scope, receive, answer)
        finally:
            seconds = time.monotonic() - began
            path = getattr(request.scope.get("route"), "path", "unknown")
            self._metrics.observe(request.method, path, status, seconds)
            log_request(request, path, status, seconds)

    def _refuse_body(self, request: Request) -> Response | None:
        """The answer to a request whose body is too large or of unknown length, or None."""
        length = request.headers.get("Content-Length", "0")
        chunked = "Transfer-Encoding" in request.headers
        if not chunked and length.isdigit() and int(length) <= self._max_body_bytes:
            return None
        return problem_response(
            request,
            HTTPStatus.LENGTH_REQUIRED if chunked else HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "length-required" if chunked else "too-large",
            "The body's size",
            f"send a body with a Content-Length of at most {self._max_body_bytes} bytes",
        )


def log_request(request: Request, path: str, status: int, seconds: float) -> None:
    """Write the line of one request; `path` is its route's. Health checks, which are many, only at level debug."""
    write = log.debug if path in ("/healthz", "/readyz") else log.info
    milliseconds = round(seconds * 1000, 1)
    write("request", method=request.method, path=request.url.path, status=status, milliseconds=milliseconds)
