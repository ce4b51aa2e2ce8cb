"""Errors as the agent answers them (RFC 9457, application/problem+json)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from target_image.api.responses import Session


class Problem(BaseModel):
    """RFC 9457, application/problem+json."""

    type: str = Field(description="https://lundock.io/problems/<code>")
    title: str
    status: int
    detail: str
    instance: str = ""
    code: str
    retryable: bool
    sessions: list[Session] = []
    errors: list[str] = []
