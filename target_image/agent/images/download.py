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
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from target_image.agent.errors import ImageFailed
from target_image.agent.images.allowlist import Policy, Refused, Resolver, resolve, shown

CONNECT_TIMEOUT_S = 5.0
MAX_REDIRECTS = 5
CHUNK_BYTES = 256 * 1024

SLOW_WINDOW_S = 60.0
SLOW_BYTES = 64 * 1024
"""A server that brings less than this in a window, or a round of all mirrors that does, is given up."""

ROOM_EVERY_BYTES = 16 * 2**20
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
    """Make `partial` the bytes of the digest, going on where an earlier call ended.

    The URLs are mirrors: each is tried in turn, and again as long as a round brought a good piece more.

    Raises ImageFailed with each URL's own reason, or Stopped.
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
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, Refused, _BadAnswer) as error:
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
            for chunk in response.iter_raw():  # as it comes: a slow server must not keep us from looking up
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


def _range(response: httpx.Response, asked_start: int) -> tuple[int, int]:
    """Where the body begins in the file, and the file's length (0: not told). RFC 9110 section 14."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        start, _, _ = rest.partition("-")
        length = rest.rpartition("/")[2]
        if unit != "bytes" or not start.isdigit() or int(start) != asked_start:
            raise _BadAnswer(f"it answered another range than bytes {asked_start}- ({rest or 'none'})")
        return asked_start, int(length) if length.isdigit() else 0
    if response.status_code != httpx.codes.OK:
        raise _BadAnswer(f"it answered {response.status_code} {response.reason_phrase}".rstrip())
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdigit() else 0


@contextmanager
def _open(url: str, start: int, limits: Limits) -> Iterator[httpx.Response]:
    """A streamed answer to GET, after redirects, each hop held to the policy."""
    timeout = httpx.Timeout(limits.silence_s, connect=CONNECT_TIMEOUT_S)
    with httpx.Client(timeout=timeout, trust_env=False, verify=ssl.create_default_context()) as client:
        for _ in range(MAX_REDIRECTS + 1):
            with closing(client.send(_request(client, url, start, limits), stream=True)) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                    start = 0  # more is there than the server has: not the start of this file
                    continue
                if not response.is_redirect:
                    yield response
                    return
                url = urljoin(url, response.headers["location"])
    raise _BadAnswer(f"it redirected more than {MAX_REDIRECTS} times")


def _request(client: httpx.Client, url: str, start: int, limits: Limits) -> httpx.Request:
    """A GET to the very address that the policy has seen, with the name in Host and SNI."""
    limits.policy.check_url(url)
    parts = urlsplit(url)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = limits.resolver(host, port)
    for address in addresses:
        limits.policy.check_address(host, address)
    headers = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity", "User-Agent": "lundock"}
    if start:
        headers["Range"] = f"bytes={start}-"
    address_url = httpx.URL(url).copy_with(host=str(addresses[0]), username="", password="", fragment=None)
    return client.build_request("GET", address_url, headers=headers, extensions={"sni_hostname": host})


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
