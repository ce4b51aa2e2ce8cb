"""Revisions of what is promised: the ETag of an answer, and If-Match of a change (RFC 9110 section 13.1.1)."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from target_image.agent.errors import PreconditionFailed, PreconditionRequired

T = TypeVar("T")


class Ensured(NamedTuple, Generic[T]):
    """A volume or an export as it is answered, with the ETag that a change has to name in If-Match."""

    answer: T
    etag: str
    created: bool


def check_match(kind: str, id: str, etag: str, if_match: str | None) -> None:
    """A change needs If-Match, so that a late repeat of an old PUT changes nothing back.

    Raises:
        PreconditionRequired: there is no If-Match.
        PreconditionFailed: if-Match names another revision.
    """
    if if_match is None:
        raise PreconditionRequired(
            f"{kind} {id} exists and this would change it: GET it, then repeat with If-Match: {etag}"
        )
    if if_match.strip() != "*" and etag not in [tag.strip() for tag in if_match.split(",")]:
        raise PreconditionFailed(f"{kind} {id} is at revision {etag} by now: GET it again before changing it")


def check_absent(kind: str, id: str, if_match: str | None) -> None:
    """If-Match means a change, and what does not exist cannot be changed.

    Raises:
        PreconditionFailed: there is an If-Match.
    """
    if if_match is not None:
        raise PreconditionFailed(f"{kind} {id} is not there any more, so no revision of it matches If-Match")
