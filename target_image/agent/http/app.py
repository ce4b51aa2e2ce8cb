"""The API over HTTP: thin routes on the agent, and every error as a problem (RFC 9457)."""

from __future__ import annotations

import hmac
import time
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from target_image.agent.errors import AgentError, Unauthorized
from target_image.agent.http.metrics import Metrics
from target_image.agent.http.openapi import describe, problems
from target_image.agent.service.agent import Agent, own_version
from target_image.agent.settings import Settings
from target_image.api import fields, requests
from target_image.api.problems import Problem
from target_image.api.responses import (
    Capabilities,
    Capacity,
    Export,
    ExportList,
    Image,
    ImageList,
    Session,
    SessionList,
    Volume,
    VolumeList,
)

log = structlog.get_logger()

PROBLEM_TYPE = "https://lundock.io/problems/"
Id = Annotated[fields.Id, PathParameter(description="A DNS-1123 label, chosen by the caller.")]
IfMatch = Annotated[str | None, Header(alias="If-Match", description="The ETag of the revision that is changed.")]
Force = Annotated[bool, Query(description="End live sessions instead of answering 409.")]


def api(agent: Agent, metrics: Metrics) -> FastAPI:
    """The API of one target."""
    settings = agent.settings
    app = FastAPI(title="Lundock target", version=own_version(), docs_url=None, redoc_url=None)
    app.include_router(_health(agent))
    guard = [] if settings.token_file is None else [Depends(_token_guard(settings.token_file))]
    for router in (_volumes(agent), _exports(agent), _images(agent), _sessions(agent), _target(agent)):
        app.include_router(router, dependencies=guard, responses=problems(401, 413, 422, 500, 503))
    _handle_errors(app)
    app.add_middleware(_BoundedAndLogged, settings=settings, metrics=metrics)
    describe(app, token=settings.token_file is not None)
    return app


def health(agent: Agent) -> FastAPI:
    """The application of the page's port: health checks, to which the page is added."""
    app = FastAPI(title="Lundock target", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_health(agent))
    _handle_errors(app)
    return app


# -- routes --------------------------------------------------------------------------------------------


def _volumes(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/v1/volumes", tags=["volumes"])
    volumes = agent.volumes

    @router.get("")
    def list_volumes() -> VolumeList:
        """Every volume."""
        return VolumeList(items=volumes.list())

    @router.get("/{id}", responses=problems(404))
    def get_volume(id: Id, response: Response) -> Volume:
        """One volume; its ETag is what a change names in If-Match."""
        found = volumes.get(id)
        response.headers["ETag"] = found.etag
        return found.answer

    @router.put(
        "/{id}",
        responses={
            201: {"model": Volume, "description": "Made."},
            202: {"model": Volume, "description": "Being made: poll it until its phase is ready or failed."},
            **problems(400, 409, 412, 424, 428, 507),
        },
    )
    async def put_volume(id: Id, spec: requests.VolumeSpec, response: Response, if_match: IfMatch = None) -> Volume:
        """Make a volume, or find it made (200). A larger size grows it, and needs If-Match."""
        done = await run_in_threadpool(volumes.ensure, id, spec, if_match)  # one thread, not FastAPI's two in turn
        response.headers["ETag"] = done.etag
        if done.answer.phase is fields.Phase.WORKING:
            response.status_code = HTTPStatus.ACCEPTED
        elif done.created:
            response.status_code = HTTPStatus.CREATED
        return done.answer

    @router.delete("/{id}", status_code=204, responses=problems(409))
    def delete_volume(id: Id) -> None:
        """Delete a volume and its data. Not there is success."""
        volumes.remove(id)

    @router.put("/{id}/trash", responses=problems(404, 409))
    def trash_volume(id: Id, response: Response) -> Volume:
        """Put a volume aside, data kept: it cannot be exported until it is restored."""
        done = volumes.trash(id)
        response.headers["ETag"] = done.etag
        return done.answer

    @router.delete("/{id}/trash", responses=problems(404, 409))
    def restore_volume(id: Id, response: Response) -> Volume:
        """Take a volume out of the trash."""
        done = volumes.restore(id)
        response.headers["ETag"] = done.etag
        return done.answer

    return router


def _exports(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/v1/exports", tags=["exports"])
    exports = agent.exports

    @router.get("")
    def list_exports() -> ExportList:
        """Every export."""
        return ExportList(items=exports.list())

    @router.get("/{id}", responses=problems(404))
    def get_export(id: Id, response: Response) -> Export:
        """One export; its ETag is what a change names in If-Match."""
        found = exports.get(id)
        response.headers["ETag"] = found.etag
        return found.answer

    @router.put(
        "/{id}", responses={201: {"model": Export, "description": "Made."}, **problems(400, 409, 412, 428, 507)}
    )
    async def put_export(
        id: Id, spec: requests.ExportSpec, response: Response, if_match: IfMatch = None, force: Force = False
    ) -> Export:
        """Make an export, or find it made (200). Other LUNs, access or CHAP change it, and need If-Match."""
        done = await run_in_threadpool(exports.ensure, id, spec, if_match, force=force)
        response.headers["ETag"] = done.etag
        if done.created:
            response.status_code = HTTPStatus.CREATED
        return done.answer

    @router.delete("/{id}", status_code=204, responses=problems(409, 507))
    def delete_export(id: Id, force: Force = False) -> None:
        """Stop serving. Not there is success; its volumes stay."""
        exports.remove(id, force=force)

    return router


def _images(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/v1/images", tags=["images"])
    images = agent.images

    @router.get("")
    def list_images() -> ImageList:
        """Every image: the catalogue's and those that were put here."""
        return ImageList(items=images.list())

    @router.get("/{name}", responses=problems(404))
    def get_image(name: Id) -> Image:
        """One image and how far it is."""
        return images.get(name)

    @router.put(
        "/{name}",
        responses={202: {"model": Image, "description": "Being fetched."}, **problems(400, 409, 424, 507)},
    )
    def put_image(name: Id, spec: requests.ImageSpec, response: Response) -> Image:
        """Register an image and begin to fetch it."""
        image = images.put(name, spec)
        if image.phase in (fields.Phase.WORKING, fields.Phase.PENDING):
            response.status_code = HTTPStatus.ACCEPTED
        return image

    @router.delete("/{name}", status_code=204, responses=problems(409))
    def delete_image(name: Id) -> None:
        """Forget an image and its file. Not there is success."""
        images.delete(name)

    return router


def _sessions(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

    @router.get("")
    def list_sessions() -> SessionList:
        """Every live session."""
        return SessionList(items=list(agent.exports.sessions()))

    @router.delete("/{export}/{session}", status_code=204, responses=problems(404))
    def end_session(export: Id, session: Annotated[int, PathParameter(ge=0, le=2**32 - 1)]) -> None:
        """End one session. Gone already is success; an initiator that may log in will come back."""
        agent.exports.end_session(export, session)

    return router


def _target(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["target"])

    @router.get("/capabilities")
    def get_capabilities() -> Capabilities:
        """What this target can do."""
        return agent.capabilities()

    @router.get("/capacity")
    def get_capacity() -> Capacity:
        """Space: what there is, what is promised, what may still be promised."""
        return agent.capacity.now()

    return router


def _health(agent: Agent) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses=problems(503))
    def healthz(response: Response) -> dict[str, str]:
        """The agent runs. 503: it should be started again."""
        healthy = agent.supervisor.failure is None
        response.status_code = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "ok" if healthy else "failed"}

    @router.get("/readyz", responses=problems(503))
    def readyz(response: Response) -> dict[str, str]:
        """Everything promised is served, and every portal answers."""
        ready = agent.ready()
        response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "ready" if ready else "starting"}

    return router


# -- errors --------------------------------------------------------------------------------------------


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(AgentError)
    async def agent_error(request: Request, error: AgentError) -> Response:
        return problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        # Only where and what: pydantic's own text repeats the input, and a password may be in it.
        found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        return _problem(
            request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request makes no sense", "; ".join(found), found
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "-")
        detail = f"{request.method} {request.url.path}: {error.detail}; /openapi.json lists what there is"
        answer = _problem(request, status, code, status.phrase, detail)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.exception("request failed", exc_info=error)
        return _problem(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "The agent failed",
            f"an unexpected {type(error).__name__}: the agent's log has it under request id {_request_id(request)}",
        )


def problem(request: Request, error: AgentError) -> Response:
    """An AgentError as a problem+json answer."""
    answer = _problem(
        request,
        HTTPStatus(error.status),
        error.code,
        error.title,
        error.detail,
        retryable=error.retryable,
        sessions=list(error.sessions),
    )
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _problem(
    request: Request,
    status: HTTPStatus,
    code: str,
    title: str,
    detail: str,
    errors: list[str] | None = None,
    *,
    retryable: bool = False,
    sessions: list[Session] | None = None,
) -> JSONResponse:
    content = Problem(
        type=f"{PROBLEM_TYPE}{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        retryable=retryable,
        sessions=sessions or [],
        errors=errors or [],
    )
    return JSONResponse(jsonable_encoder(content), status, media_type="application/problem+json")


# -- around every request ------------------------------------------------------------------------------


def _token_guard(token_file: Path) -> Callable[[Request], Awaitable[None]]:
    """Ask for the bearer token. The file is read for every request: rotation needs nothing else."""

    async def guard(request: Request) -> None:  # async: the way to a thread and back costs more than these few bytes
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            expected = token_file.read_bytes().strip()
        except OSError as error:
            raise Unauthorized(f"the agent cannot read its token file {token_file}: {error.strerror}") from error
        if not expected:
            raise Unauthorized(f"the agent's token file {token_file} is empty, so nobody can be let in")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
            raise Unauthorized("send the target's token as `Authorization: Bearer <token>`")

    return guard


class _BoundedAndLogged:
    """Gives each request an id, a bound of its body, a metric and a line in the log.

    Plain ASGI: Starlette's `middleware("http")` runs every request in a task of its own, behind two streams.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._max_body_bytes = settings.max_body_bytes
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
            await (self._refusal(request) or self._app)(scope, receive, answer)
        finally:
            self._tell(request, status, time.monotonic() - began)

    def _refusal(self, request: Request) -> Response | None:
        length = request.headers.get("Content-Length", "0")
        chunked = "Transfer-Encoding" in request.headers
        if not chunked and length.isdigit() and int(length) <= self._max_body_bytes:
            return None
        return _problem(
            request,
            HTTPStatus.LENGTH_REQUIRED if chunked else HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "length-required" if chunked else "too-large",
            "The body's size",
            f"send a body with a Content-Length of at most {self._max_body_bytes} bytes",
        )

    def _tell(self, request: Request, status: int, seconds: float) -> None:
        path = getattr(request.scope.get("route"), "path", "unknown")
        self._metrics.observe(request.method, path, status, seconds)
        tell = log.debug if path in ("/healthz", "/readyz") else log.info
        milliseconds = round(seconds * 1000, 1)
        tell("request", method=request.method, path=request.url.path, status=status, milliseconds=milliseconds)


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "id", "unknown"))
