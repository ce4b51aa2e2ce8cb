"""The landing page: what this target serves and how to use it. Read-only, without JavaScript and without secrets."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lundock_common.portal import Portal
from lundock_common.quantity import for_people
from target_image.agent.http.pages.view import Page, page
from target_image.agent.service.agent import Agent

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def router(agent: Agent, portal: Portal | None = None) -> APIRouter:
    """The page's routes.

    Args:
        agent: what the page shows.
        portal: where its commands log in; None is the host that the page itself was asked for.
    """
    routes = APIRouter()
    templates = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
    templates.filters["size"] = for_people
    template = templates.get_template("page.html")
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")

    @routes.get("/", include_in_schema=False)
    def landing(request: Request) -> HTMLResponse:
        shown = gather(agent, portal or _asked_portal(request, agent))
        return HTMLResponse(template.render(page=shown), headers=_HEADERS)

    @routes.get("/style.css", include_in_schema=False)
    def stylesheet() -> Response:
        return Response(style, media_type="text/css", headers={**_HEADERS, "Cache-Control": "max-age=3600"})

    return routes


def _asked_portal(request: Request, agent: Agent) -> Portal:
    return Portal(request.url.hostname or "127.0.0.1", agent.settings.iscsi_port)


def gather(agent: Agent, portal: Portal) -> Page:
    """Ask the agent for everything that the page shows."""
    return page(
        portal=portal,
        ready=agent.ready(),
        capabilities=agent.capabilities(),
        capacity=agent.capacity.now(),
        exports=agent.exports.list(),
        volumes=agent.volumes.list(),
        images=agent.images.list(),
        sessions=agent.exports.sessions(),
    )
