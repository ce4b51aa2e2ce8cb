"""The agent's API as a typed Python class, on urllib3: requests would double what a call costs.

    TargetError
    ├── ApiProblem        the agent answered with a problem (RFC 9457): code, retryable, status, sessions
    ├── Unreachable       nothing was sent: refused, no such host, TLS not trusted
    └── OutcomeUnknown    sent, but no answer: a time-out or a broken connection

Every call is idempotent: after OutcomeUnknown the same call is repeated, and nothing is made twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from target_image.api import echo, problems, requests, responses
from target_image.api.failures import ExpectedError

T = TypeVar("T", bound=BaseModel)


class TargetError(ExpectedError):
    """Any failure of a call to a target."""

    retryable = False


class ApiProblem(TargetError):
    """The agent refused; `code` is stable (problems.Code lists them; a newer agent may have others)."""

    def __init__(self, problem: problems.Problem, retry_after_s: float | None = None) -> None:
        super().__init__(f"{problem.detail} ({problem.code})")
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.detail = problem.detail
        self.retryable = problem.retryable
        self.sessions = problem.sessions
        self.retry_after_s = retry_after_s


class Unreachable(TargetError):
    """The request was not sent, so nothing changed."""

    retryable = True


class OutcomeUnknown(TargetError):
    """The request was sent and no answer came: it may have been done. Repeat the same call."""

    retryable = True


class TargetClient:
    """One target's API. Thread-safe. Every method raises a TargetError and nothing else.

    Proxies of the environment are not asked: they must never see the token.

    Args:
        base_url: where the target's API is, without /v1.
        token: the bearer token.
        token_file: the file of the bearer token. Read for every request, so that a rotated token needs no restart.
        ca_file: PEM certificates that the target's certificate is checked against; the system's otherwise.
        timeout_s: bounds the connection and each wait for bytes.
        pool_size: connections that are kept for the next calls; as many as threads use one client at the same time.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 10.0,
        pool_size: int = 4,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._token = token
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._pool = urllib3.PoolManager(
            maxsize=pool_size,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            ca_certs=None if ca_file is None else str(ca_file),
        )

    def close(self) -> None:
        """Close the connections that were kept."""
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        """Make the volume, or find it as asked for. Its `phase` says whether it is ready; poll with get_volume."""
        return self._call("PUT", f"/v1/volumes/{quote(id)}", responses.Volume, body=spec)

    def grow_volume(self, id: str, size_bytes: int) -> responses.Volume:
        """Make the volume at least this large. 409 `in-use` while sessions live where grow is `detached`."""
        path = f"/v1/volumes/{quote(id)}"
        response = self._send("GET", path)
        volume = self._parse("GET", path, response, responses.Volume)
        try:
            spec = echo.volume_spec(volume, size_bytes=size_bytes)
        except ValueError as error:
            raise TargetError(f"volume {id} at {self.base_url} cannot grow by this version: {error}") from error
        return self._call("PUT", path, responses.Volume, body=spec, headers={"If-Match": response.headers["ETag"]})

    def get_volume(self, id: str) -> responses.Volume | None:
        """The volume, or None."""
        return self._get_or_none(f"/v1/volumes/{quote(id)}", responses.Volume)

    def list_volumes(self) -> list[responses.Volume]:
        """Every volume."""
        return self._call("GET", "/v1/volumes", responses.VolumeList).items

    def delete_volume(self, id: str) -> None:
        """Delete the volume and its data. Succeeds if it does not exist; 409 `volume-exported` while exported."""
        self._send("DELETE", f"/v1/volumes/{quote(id)}")

    def trash_volume(self, id: str) -> responses.Volume:
        """Put the volume aside, data kept: it cannot be exported until restore_volume."""
        return self._call("PUT", f"/v1/volumes/{quote(id)}/trash", responses.Volume)

    def restore_volume(self, id: str) -> responses.Volume:
        """Take the volume out of the trash."""
        return self._call("DELETE", f"/v1/volumes/{quote(id)}/trash", responses.Volume)

    def ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        """Make the export, or find it as asked for. 428 `precondition-required` if its LUNs, access or CHAP differ."""
        return self._call("PUT", f"/v1/exports/{quote(id)}", responses.Export, body=spec)

    def change_export(self, id: str, spec: requests.ExportSpec, *, force: bool = False) -> responses.Export:
        """Give an export that exists other LUNs, access or CHAP. `force` ends live sessions first."""
        etag = self._send("GET", f"/v1/exports/{quote(id)}").headers["ETag"]
        return self._call(
            "PUT",
            f"/v1/exports/{quote(id)}{_force_query(force)}",
            responses.Export,
            body=spec,
            headers={"If-Match": etag},
        )

    def get_export(self, id: str) -> responses.Export | None:
        """The export, or None."""
        return self._get_or_none(f"/v1/exports/{quote(id)}", responses.Export)

    def list_exports(self) -> list[responses.Export]:
        """Every export."""
        return self._call("GET", "/v1/exports", responses.ExportList).items

    def delete_export(self, id: str, *, force: bool = False) -> None:
        """Stop serving. Succeeds if it does not exist; 409 `in-use` with the sessions, which `force` ends first."""
        self._send("DELETE", f"/v1/exports/{quote(id)}{_force_query(force)}")

    def put_image(self, name: str, spec: requests.ImageSpec) -> responses.Image:
        """Register an image and start to fetch it; its `phase` and `bytes_done` say how far it is."""
        return self._call("PUT", f"/v1/images/{quote(name)}", responses.Image, body=spec)

    def get_image(self, name: str) -> responses.Image | None:
        """The image, or None."""
        return self._get_or_none(f"/v1/images/{quote(name)}", responses.Image)

    def list_images(self) -> list[responses.Image]:
        """Every image: the catalogue's and those that were put here."""
        return self._call("GET", "/v1/images", responses.ImageList).items

    def delete_image(self, name: str) -> None:
        """Forget the image and its file. Succeeds if it does not exist."""
        self._send("DELETE", f"/v1/images/{quote(name)}")

    def sessions(self) -> list[responses.Session]:
        """Every live session of this target."""
        return self._call("GET", "/v1/sessions", responses.SessionList).items

    def end_session(self, export: str, session: int) -> None:
        """End one session; succeeds if it has ended. An initiator that may log in will come back."""
        self._send("DELETE", f"/v1/sessions/{quote(export)}/{session}")

    def capabilities(self) -> responses.Capabilities:
        """What this target can do."""
        return self._call("GET", "/v1/capabilities", responses.Capabilities)

    def capacity(self) -> responses.Capacity:
        """The space of this target."""
        return self._call("GET", "/v1/capacity", responses.Capacity)

    def _get_or_none(self, path: str, model: type[T]) -> T | None:
        try:
            return self._call("GET", path, model)
        except ApiProblem as problem:
            if problem.code == problems.Code.NOT_FOUND:
                return None
            raise

    def _call(self, method: str, path: str, model: type[T], **request: Any) -> T:
        return self._parse(method, path, self._send(method, path, **request), model)

    def _send(
        self, method: str, path: str, *, body: BaseModel | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        url = f"{self.base_url}{path}"
        sent = {"Accept": "application/json", **self._authorization(), **(headers or {})}
        content = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = _to_json_with_passwords(body)
        try:
            response = self._pool.request(method, url, body=content, headers=sent, retries=False, redirect=False)
        except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
            raise Unreachable(f"{method} {url}: no connection: {error}") from error
        except ReadTimeoutError as error:
            raise OutcomeUnknown(f"{method} {url}: no answer within {self._timeout_s:g} s: {error}") from error
        except (HTTPError, ValueError) as error:  # ValueError: http.client's, of a header that cannot be
            raise OutcomeUnknown(f"{method} {url}: no usable answer: {error}") from error
        if response.status >= 400:
            raise _to_error(method, url, response)
        return response

    def _authorization(self) -> dict[str, str]:
        token = self._token
        if self._token_file is not None:
            try:
                token = self._token_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise Unreachable(f"the token file {self._token_file} cannot be read: {error.strerror}") from error
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _parse(self, method: str, path: str, response: urllib3.BaseHTTPResponse, model: type[T]) -> T:
        try:
            return model.model_validate_json(response.data)
        except ValidationError as error:
            raise TargetError(
                f"{method} {self.base_url}{path}: the answer is not a {model.__name__} "
                f"(is this a Lundock target of the same version?): {error}"
            ) from error


def _force_query(force: bool) -> str:
    return "?force=true" if force else ""


def _to_json_with_passwords(model: BaseModel) -> bytes:
    """The model as JSON with its passwords in clear: this is the one place that sends them."""
    content = model.model_dump(mode="json")
    if isinstance(model, requests.ExportSpec) and model.chap is not None:
        content["chap"]["password"] = model.chap.password.get_secret_value()
        if model.chap.mutual_password is not None:
            content["chap"]["mutual_password"] = model.chap.mutual_password.get_secret_value()
    return json.dumps(content).encode()


def _to_error(method: str, url: str, response: urllib3.BaseHTTPResponse) -> ApiProblem:
    try:
        problem = problems.Problem.model_validate_json(response.data)
    except ValidationError:
        problem = problems.Problem(
            type="about:blank",
            title=response.reason or "",
            status=response.status,
            detail=f"{method} {url} was answered with {response.status} {response.reason}, and not by a target",
            code=problems.Code.NOT_A_TARGET,
            retryable=response.status >= 500,
        )
    after = response.headers.get("Retry-After", "")
    return ApiProblem(problem, float(after) if after.isdigit() else None)
