"""The two applications of the agent, put together: the API, and the page's with the health checks."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from target_image.agent.http import routes
from target_image.agent.http.authentication import token_guard
from target_image.agent.http.metrics import Metrics
from target_image.agent.http.middleware import RequestMiddleware
from target_image.agent.http.openapi import describe, problem_responses
from target_image.agent.http.problems import handle_errors
from target_image.agent.service.agent import Agent, own_version


def api(agent: Agent, metrics: Metrics) -> FastAPI:
    """The API of one target."""
    settings = agent.settings
    app = FastAPI(title="Lundock target", version=own_version(), docs_url=None, redoc_url=None)
    app.include_router(routes.health(agent))
    guard = [] if settings.token_file is None else [Depends(token_guard(settings.token_file))]
    for router in routes.resources(agent):
        app.include_router(router, dependencies=guard, responses=problem_responses(401, 413, 422, 500, 503))
    handle_errors(app)
    app.add_middleware(RequestMiddleware, max_body_bytes=settings.max_body_bytes, metrics=metrics)
    describe(app, token=settings.token_file is not None)
    return app


def health(agent: Agent) -> FastAPI:
    """The application of the page's port: health checks, to which the page is added."""
    app = FastAPI(title="Lundock target", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes.health(agent))
    handle_errors(app)
    return app
