"""The landing page: what this target serves and how to use it. Read-only, without JavaScript and without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lundock_common.quantity import for_people
from target_image.agent.demo import usage
from target_image.agent.http.pages.view import Page, page
from target_image.agent.images.library import Images
from target_image.agent.service.capacity import Capacity
from target_image.agent.service.exports import Exports
from target_image.agent.service.volumes import Volumes
from target_image.agent.settings import Settings
from target_image.api import responses

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Service(Protocol):
    """What of the agent the page shows."""

    settings: Settings

    @property
    def images(self) -> Images: ...
    @property
    def volumes(self) -> Volumes: ...
    @property
    def exports(self) -> Exports: ...
    def ready(self) -> bool: ...
    @property
    def capacity(self) -> Capacity: ...
    def capabilities(self) -> responses.Capabilities: ...


def router(service: Service, portal: usage.Portal | None = None) -> APIRouter:
    """The page's routes. Without `portal` its commands name the host that the page itself was asked for."""
    routes = APIRouter()
    templates = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
    templates.filters["size"] = for_people
    template = templates.get_template("page.html")
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")

    @routes.get("/", include_in_schema=False)
    def landing(request: Request) -> HTMLResponse:
        shown = gather(service, portal or _asked(request, service))
        return HTMLResponse(template.render(page=shown), headers=_HEADERS)

    @routes.get("/style.css", include_in_schema=False)
    def stylesheet() -> Response:
        return Response(style, media_type="text/css", headers={**_HEADERS, "Cache-Control": "max-age=3600"})

    return routes


def _asked(request: Request, service: Service) -> usage.Portal:
    return usage.Portal(request.url.hostname or "127.0.0.1", service.settings.iscsi_port)


def gather(service: Service, portal: usage.Portal) -> Page:
    return page(
        portal=portal,
        ready=service.ready(),
        capabilities=service.capabilities(),
        capacity=service.capacity.now(),
        exports=service.exports.list(),
        volumes=service.volumes.list(),
        images=service.images.list(),
        sessions=service.exports.sessions(),
    )
