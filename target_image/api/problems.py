"""Errors as the agent answers them (RFC 9457, application/problem+json), and their stable codes."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from target_image.api.responses import Session


class Code(StrEnum):
    """Every `code` that a problem or a condition of this version has. A newer agent may answer others."""

    # Problems that the agent answers, by status.
    LENGTH_REQUIRED = "length-required"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    IDENTITY_CONFLICT = "identity-conflict"
    NAME_TAKEN = "name-taken"
    IN_USE = "in-use"
    START_GRACE = "start-grace"
    VOLUME_EXPORTED = "volume-exported"
    NOT_READY = "not-ready"
    PRECONDITION_FAILED = "precondition-failed"
    TOO_LARGE = "too-large"
    INVALID = "invalid"
    NOT_SUPPORTED = "not-supported"
    UNKNOWN_IMAGE = "unknown-image"
    IMAGE_FAILED = "image-failed"
    PRECONDITION_REQUIRED = "precondition-required"
    INTERNAL = "internal"
    STORE_FAILED = "store-failed"
    SOURCE_CHANGED = "source-changed"
    ENGINE_FAILED = "engine-failed"
    ENGINE_DOWN = "engine-down"
    NO_SPACE = "no-space"

    # Only in the agent's log and at its end, since it does not start.
    SETTINGS = "settings"
    LEDGER = "ledger"

    # Only made by the client: what answered is no target.
    NOT_A_TARGET = "not-a-target"

    # Only in a condition.
    TRASHED = "trashed"
    BACKING_FILE_MISSING = "backing-file-missing"
    BACKING_FILE_UNUSABLE = "backing-file-unusable"
    BACKING_FILE_UNREADABLE = "backing-file-unreadable"
    BACKING_FILE_TRUNCATED = "backing-file-truncated"


class Problem(BaseModel):
    """RFC 9457, application/problem+json. Read as every answer is: what is not known is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = Field(description="https://lundock.io/problems/<code>")
    title: str
    status: int
    detail: str
    instance: str = ""
    code: str
    retryable: bool
    sessions: list[Session] = []
    errors: list[str] = []
