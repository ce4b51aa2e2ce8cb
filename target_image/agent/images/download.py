"""Fetch the bytes of a digest from one of several URLs: resumable, bounded, verified.

What is there of a file lies in `<name>.partial` and is only ever the start of a download; the caller gives it a
name that means something once the digest was checked.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

from lundock_common.quantity import MIB
from target_image.agent.errors import ImageFailed
from target_image.agent.images.allowlist import Policy, Refused, Resolver, resolve, shown

CONNECT_TIMEOUT_S = 5.0
MAX_REDIRECTS = 5
CHUNK_BYTES = 256 * 1024

SLOW_WINDOW_S = 60.0
SLOW_BYTES = 64 * 1024
"""A server that brings less than this in a window, or a round of all mirrors that does, is given up."""

ROOM_EVERY_BYTES = 16 * MIB
"""How often it is asked whether there is still room."""

NO_ROOM = "there is no room for it beside what is promised to volumes: delete volumes or images, or add space"

Progress = Callable[[int, int], None]
"""Bytes done, bytes in all; 0 in all while that is not known."""


class Stopped(Exception):
    """The agent is stopping; the partial file stays for the next start."""


@dataclass(frozen=True)
class Limits:
    max_bytes: int
    silence_s: float
    """Longest wait for the next bytes of a server."""
    policy: Policy
    resolver: Resolver = field(default=resolve)
    room: Callable[[], int] = field(default=lambda: sys.maxsize)
    """Bytes that may still be written without taking space from anyone."""


def fetch(
    urls: Sequence[str],
    digest: str,
    partial: Path,
    limits: Limits,
    progress: Progress,
    stopping: Callable[[], bool],
) -> None:
    """Fetch the bytes of a digest into a file, going on where an earlier call ended.

    The URLs are mirrors: each is tried in turn, and again while a round brings a good piece more.

    Args:
        urls: the mirrors.
        digest: `sha256:…` or `sha512:…` of the whole.
        partial: the file, which may hold the start already.
        limits: how much, how slowly and from where.
        progress: called with the bytes that are there and with all of them.
        stopping: asked for each chunk; True ends the work.

    Raises:
        ImageFailed: no mirror gave the bytes; with each URL's own reason.
        Stopped: `stopping` said so.
    """
    if _size(partial) and digest_of(partial, digest) == digest:
        return
    wrong_digests = 0
    while True:
        before_bytes = _size(partial)
        reasons = []
        for url in urls:
            try:
                _fetch_one(url, partial, limits, progress, stopping)
            except (HTTPError, OSError, ValueError, Refused, _BadAnswer) as error:
                reasons.append(f"{shown(url)}: {_reason(error)}")
                continue
            if digest_of(partial, digest) == digest:
                return
            partial.unlink()
            wrong_digests += 1
            reasons.append(f"{shown(url)}: the digest of what it serves is not {digest}")
        # Older bytes, or another mirror's, may have been the wrong ones: once more from the start.
        again = wrong_digests == 1 and before_bytes > 0
        if not again and _size(partial) < before_bytes + SLOW_BYTES:
            raise ImageFailed("the image could not be fetched; " + "; ".join(reasons))


def digest_of(path: Path, like: str) -> str:
    """The file's digest, by the algorithm that `like` (`sha256:…`) names."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


class _BadAnswer(Exception):
    """The server's answer cannot be used."""


def _fetch_one(url: str, partial: Path, limits: Limits, progress: Progress, stopping: Callable[[], bool]) -> None:
    """Complete the partial file from one URL."""
    start = _size(partial)
    with _open(url, start, limits) as response:
        start, total = _range(response, start)
        if total > limits.max_bytes:
            raise _BadAnswer(f"it is {total} bytes long, and at most {limits.max_bytes} are taken (--image-max-bytes)")
        if total - start > limits.room():
            raise _BadAnswer(f"{total - start} bytes are to come; {NO_ROOM}")
        with partial.open("r+b" if partial.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done = start
            pace = _Pace(done)
            progress(done, total)
            while chunk := response.read1(CHUNK_BYTES):  # what has come: a slow server must not keep us from looking up
                if stopping():
                    raise Stopped
                before, done = done, done + len(chunk)
                if done > limits.max_bytes:
                    raise _BadAnswer(f"it is longer than {limits.max_bytes} bytes (--image-max-bytes)")
                if done // ROOM_EVERY_BYTES > before // ROOM_EVERY_BYTES and limits.room() <= 0:
                    raise _BadAnswer(NO_ROOM)
                file.write(chunk)
                progress(done, total)
                pace.look(done)
    if total and done < total:
        raise _BadAnswer(f"it ended after {done} of {total} bytes")


class _Pace:
    """Ends a transfer that is never silent for long and still gets nowhere, since two at a time are all there are."""

    def __init__(self, done: int) -> None:
        self._began_s, self._from = time.monotonic(), done

    def look(self, done: int) -> None:
        now = time.monotonic()
        if now - self._began_s < SLOW_WINDOW_S:
            return
        if done - self._from < SLOW_BYTES:
            raise _BadAnswer(f"it is too slow: {done - self._from} bytes in {now - self._began_s:.0f} s")
        self._began_s, self._from = now, done


def _range(response: BaseHTTPResponse, asked_start: int) -> tuple[int, int]:
    """Where the body begins in the file, and the file's length (0: unknown). RFC 9110 section 14."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        start, _, _ = rest.partition("-")
        length = rest.rpartition("/")[2]
        if unit != "bytes" or not start.isdigit() or int(start) != asked_start:
            raise _BadAnswer(f"it answered another range than bytes {asked_start}- ({rest or 'none'})")
        return asked_start, int(length) if length.isdigit() else 0
    if response.status != HTTPStatus.OK:
        raise _BadAnswer(f"it answered {response.status} {response.reason or ''}".rstrip())
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else 0


@contextmanager
def _open(url: str, start: int, limits: Limits) -> Iterator[BaseHTTPResponse]:
    """A streamed answer to GET, after redirects, each hop held to the policy."""
    tls = ssl.create_default_context()
    for _ in range(MAX_REDIRECTS + 1):
        with _connect(url, limits, tls) as pool, closing(_get(pool, url, start)) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                start = 0  # the partial file is longer than the server's: not the start of this file
                continue
            location = response.get_redirect_location()
            if not location:
                yield response
                return
            url = urljoin(url, location)
    raise _BadAnswer(f"it redirected more than {MAX_REDIRECTS} times")


def _connect(url: str, limits: Limits, tls: ssl.SSLContext) -> HTTPConnectionPool:
    """A pool that connects to the very address that the policy has seen; TLS has the name in SNI and verifies it."""
    limits.policy.check_url(url)
    parts = urlsplit(url)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = limits.resolver(host, port)
    for address in addresses:
        limits.policy.check_address(host, address)
    timeout = Timeout(connect=CONNECT_TIMEOUT_S, read=limits.silence_s)
    if parts.scheme == "https":
        return HTTPSConnectionPool(str(addresses[0]), port, timeout, ssl_context=tls, server_hostname=host)
    return HTTPConnectionPool(str(addresses[0]), port, timeout)


def _get(pool: HTTPConnectionPool, url: str, start: int) -> BaseHTTPResponse:
    parts = urlsplit(url)
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "lundock"}
    if start:
        headers["Range"] = f"bytes={start}-"
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return pool.urlopen(
        "GET", target, headers=headers, retries=False, redirect=False, preload_content=False, decode_content=False
    )


def _reason(error: Exception) -> str:
    """What went wrong, without the words that urllib3 puts around it for programmers."""
    if isinstance(error, NewConnectionError):
        return str(error.__cause__ or error)
    if isinstance(error, ProtocolError) and error.args:
        return str(error.args[0])
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
