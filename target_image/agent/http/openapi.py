"""What the OpenAPI document says beyond what FastAPI finds out by itself: problems, security, examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from target_image.api.problems import Problem

_VOLUME_SPEC = {
    "empty": {"summary": "An empty disk of 10 GiB", "value": {"size_bytes": 10737418240}},
    "image": {
        "summary": "A copy of an image",
        "value": {"size_bytes": 1073741824, "source": {"type": "image", "image": "alpine"}},
    },
    "clone": {
        "summary": "A copy of another volume",
        "value": {"size_bytes": 1073741824, "source": {"type": "volume", "volume": "golden"}},
    },
}
_EXPORT_SPEC = {
    "chap": {
        "summary": "One LUN behind CHAP",
        "value": {
            "luns": [{"lun": 1, "volume": "disk-1"}],
            "chap": {"username": "disk-1", "password": "twelve-or-more"},
        },
    },
    "networks": {
        "summary": "For one network only, read-only",
        "value": {
            "luns": [{"lun": 1, "volume": "disk-1", "read_only": True}],
            "access": {"networks": ["10.0.0.0/8"]},
        },
    },
}
_IMAGE_SPEC = {
    "qcow2": {
        "summary": "CirrOS",
        "value": {
            "urls": ["https://download.cirros-cloud.net/0.6.3/cirros-0.6.3-x86_64-disk.img"],
            "digest": "sha256:7d6355852aeb6dbcd191bcda7cd74f1536cfe5cbf8a10495a7283a8396e4b75b",
            "format": "qcow2",
        },
    }
}
_EXAMPLES = {
    "/v1/volumes/{id}": _VOLUME_SPEC,
    "/v1/exports/{id}": _EXPORT_SPEC,
    "/v1/images/{name}": _IMAGE_SPEC,
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def describe(app: FastAPI, *, token: bool) -> None:
    """Give the application its OpenAPI 3.1 document. `token` says whether it asks for one."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, token=token)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, *, token: bool) -> dict[str, Any]:
    content = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary="Volumes and iSCSI exports of one Lundock target.",
        description="Every call may be repeated. Sizes are bytes. Errors are problems (RFC 9457) with a stable `code`; "
        "`retryable` says whether the same request can succeed later.",
        routes=app.routes,
    )
    schemas = content["components"]["schemas"]
    schemas.update(_problem_schemas(known=schemas))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    content["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in content["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1"):
                if token:
                    operation["security"] = [{"token": []}]
                operation["responses"].update({str(code): value for code, value in problem_responses(422).items()})
            if method == "put" and path in _EXAMPLES:
                operation["requestBody"]["content"]["application/json"]["examples"] = _EXAMPLES[path]
            for status, response in operation["responses"].items():
                if status in ("200", "201", "202") and path in _EXAMPLES:
                    response.setdefault("headers", {})["ETag"] = {"schema": {"type": "string"}}
    return content


def _problem_schemas(known: dict[str, Any]) -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = {name: value for name, value in schema.pop("$defs", {}).items() if name not in known}
    return {"Problem": schema, **nested}
