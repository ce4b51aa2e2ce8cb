"""The routes of the API and of the health checks: thin functions on the agent."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool

from target_image.agent.http.openapi import problem_responses
from target_image.agent.service.agent import Agent
from target_image.api import fields, requests
from target_image.api.responses import (
    Capabilities,
    Capacity,
    Export,
    ExportList,
    Image,
    ImageList,
    SessionList,
    Volume,
    VolumeList,
)

Id = Annotated[fields.Id, PathParameter(description="A DNS-1123 label, chosen by the caller.")]
IfMatch = Annotated[str | None, Header(alias="If-Match", description="The ETag of the revision that is changed.")]
Force = Annotated[bool, Query(description="End live sessions instead of answering 409.")]


def resources(agent: Agent) -> list[APIRouter]:
    """One router for each kind of thing that the API has."""
    return [volumes(agent), exports(agent), images(agent), sessions(agent), target(agent)]


def volumes(agent: Agent) -> APIRouter:
    """The routes of /v1/volumes."""
    router = APIRouter(prefix="/v1/volumes", tags=["volumes"])

    @router.get("")
    def list_volumes() -> VolumeList:
        """Every volume."""
        return VolumeList(items=agent.volumes.list())

    @router.get("/{id}", responses=problem_responses(404))
    def get_volume(id: Id, response: Response) -> Volume:
        """One volume; its ETag is what a change names in If-Match."""
        found = agent.volumes.get(id)
        response.headers["ETag"] = found.etag
        return found.answer

    @router.put(
        "/{id}",
        responses={
            201: {"model": Volume, "description": "Made."},
            202: {"model": Volume, "description": "Being made: poll it until its phase is ready or failed."},
            **problem_responses(400, 409, 412, 424, 428, 507),
        },
    )
    async def put_volume(id: Id, spec: requests.VolumeSpec, response: Response, if_match: IfMatch = None) -> Volume:
        """Make a volume, or find it made (200). A larger size grows it, and needs If-Match."""
        done = await run_in_threadpool(
            agent.volumes.ensure, id, spec, if_match
        )  # one thread, not FastAPI's two in turn
        response.headers["ETag"] = done.etag
        if done.answer.phase is fields.Phase.WORKING:
            response.status_code = HTTPStatus.ACCEPTED
        elif done.created:
            response.status_code = HTTPStatus.CREATED
        return done.answer

    @router.delete("/{id}", status_code=204, responses=problem_responses(409))
    def delete_volume(id: Id) -> None:
        """Delete a volume and its data. Not there is success."""
        agent.volumes.remove(id)

    @router.put("/{id}/trash", responses=problem_responses(404, 409))
    def trash_volume(id: Id, response: Response) -> Volume:
        """Put a volume aside, data kept: it cannot be exported until it is restored."""
        done = agent.volumes.trash(id)
        response.headers["ETag"] = done.etag
        return done.answer

    @router.delete("/{id}/trash", responses=problem_responses(404, 409))
    def restore_volume(id: Id, response: Response) -> Volume:
        """Take a volume out of the trash."""
        done = agent.volumes.restore(id)
        response.headers["ETag"] = done.etag
        return done.answer

    return router


def exports(agent: Agent) -> APIRouter:
    """The routes of /v1/exports."""
    router = APIRouter(prefix="/v1/exports", tags=["exports"])

    @router.get("")
    def list_exports() -> ExportList:
        """Every export."""
        return ExportList(items=agent.exports.list())

    @router.get("/{id}", responses=problem_responses(404))
    def get_export(id: Id, response: Response) -> Export:
        """One export; its ETag is what a change names in If-Match."""
        found = agent.exports.get(id)
        response.headers["ETag"] = found.etag
        return found.answer

    @router.put(
        "/{id}",
        responses={201: {"model": Export, "description": "Made."}, **problem_responses(400, 409, 412, 428, 507)},
    )
    async def put_export(
        id: Id, spec: requests.ExportSpec, response: Response, if_match: IfMatch = None, force: Force = False
    ) -> Export:
        """Make an export, or find it made (200). Other LUNs, access or CHAP change it, and need If-Match."""
        done = await run_in_threadpool(agent.exports.ensure, id, spec, if_match, force=force)
        response.headers["ETag"] = done.etag
        if done.created:
            response.status_code = HTTPStatus.CREATED
        return done.answer

    @router.delete("/{id}", status_code=204, responses=problem_responses(409, 507))
    def delete_export(id: Id, force: Force = False) -> None:
        """Stop serving. Not there is success; its volumes stay."""
        agent.exports.remove(id, force=force)

    return router


def images(agent: Agent) -> APIRouter:
    """The routes of /v1/images."""
    router = APIRouter(prefix="/v1/images", tags=["images"])

    @router.get("")
    def list_images() -> ImageList:
        """Every image: the catalogue's and those that were put here."""
        return ImageList(items=agent.images.list())

    @router.get("/{name}", responses=problem_responses(404))
    def get_image(name: Id) -> Image:
        """One image and how far it is."""
        return agent.images.get(name)

    @router.put(
        "/{name}",
        responses={202: {"model": Image, "description": "Being fetched."}, **problem_responses(400, 409, 424, 507)},
    )
    def put_image(name: Id, spec: requests.ImageSpec, response: Response) -> Image:
        """Register an image and begin to fetch it."""
        image = agent.images.put(name, spec)
        if image.phase in (fields.Phase.WORKING, fields.Phase.PENDING):
            response.status_code = HTTPStatus.ACCEPTED
        return image

    @router.delete("/{name}", status_code=204, responses=problem_responses(409))
    def delete_image(name: Id) -> None:
        """Forget an image and its file. Not there is success."""
        agent.images.delete(name)

    return router


def sessions(agent: Agent) -> APIRouter:
    """The routes of /v1/sessions."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

    @router.get("")
    def list_sessions() -> SessionList:
        """Every live session."""
        return SessionList(items=list(agent.exports.sessions()))

    @router.delete("/{export}/{session}", status_code=204, responses=problem_responses(404))
    def end_session(export: Id, session: Annotated[int, PathParameter(ge=0, le=2**32 - 1)]) -> None:
        """End one session. Gone already is success; an initiator that may log in will come back."""
        agent.exports.end_session(export, session)

    return router


def target(agent: Agent) -> APIRouter:
    """What the target can do and how full it is."""
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


def health(agent: Agent) -> APIRouter:
    """Liveness and readiness, without a token."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses=problem_responses(503))
    def healthz(response: Response) -> dict[str, str]:
        """The agent runs. 503: it should be started again."""
        healthy = agent.supervisor.failure is None
        response.status_code = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "ok" if healthy else "failed"}

    @router.get("/readyz", responses=problem_responses(503))
    def readyz(response: Response) -> dict[str, str]:
        """Everything promised is served, and every portal answers."""
        ready = agent.ready()
        response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "ready" if ready else "starting"}

    return router
