"""Every error as a problem (RFC 9457): the answers themselves, and the handlers that give them."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from target_image.agent.errors import AgentError, Unauthorized
from target_image.api.problems import Problem
from target_image.api.responses import Session

log = structlog.get_logger()

PROBLEM_TYPE = "https://lundock.io/problems/"


def handle_errors(app: FastAPI) -> None:
    """Let the application answer every error, expected or not, as a problem."""

    @app.exception_handler(AgentError)
    async def agent_error(request: Request, error: AgentError) -> Response:
        return agent_error_response(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        # Only where and what: pydantic's own text repeats the input, and a password may be in it.
        found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        return problem_response(
            request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request makes no sense", "; ".join(found), found
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "-")
        detail = f"{request.method} {request.url.path}: {error.detail}; /openapi.json lists what there is"
        answer = problem_response(request, status, code, status.phrase, detail)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.exception("request failed", exc_info=error)
        return problem_response(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "The agent failed",
            f"an unexpected {type(error).__name__}: the agent's log has it under request id {_request_id(request)}",
        )


def agent_error_response(request: Request, error: AgentError) -> Response:
    """Answer an AgentError, with the headers that belong to it."""
    answer = problem_response(
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


def problem_response(
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
    """Answer with a problem.

    Args:
        request: what is answered; its path becomes `instance`.
        status: the HTTP status.
        code: the stable name of what went wrong, also the end of the problem's type.
        title: what every problem of this code has in common.
        detail: what happened this time and what to do next. Never a secret.
        errors: one sentence for each field that is wrong.
        retryable: whether the same request can succeed later.
        sessions: the live sessions that stand in the way.

    Returns:
        The answer, as application/problem+json.
    """
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


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "id", "unknown"))
