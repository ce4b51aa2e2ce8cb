"""The API's bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import Request

from target_image.agent.errors import Unauthorized


def token_guard(token_file: Path) -> Callable[[Request], Awaitable[None]]:
    """Make the dependency of a route that asks for the bearer token.

    Args:
        token_file: file with the token. It is read for every request, so a new token needs no restart.

    Returns:
        A function that raises Unauthorized for a request without the token.
    """

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
