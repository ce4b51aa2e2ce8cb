"""The Kubernetes API as plain JSON, on the official client's configuration, authentication and pool.

    KubernetesError
    ├── NoConfiguration        no way to the API server is known
    ├── OutcomeUnknown         a call timed out or its connection broke: it may have happened; repeat it
    ├── NoApiServer            what answers is not an API server
    └── Refused                the API server answered with an error
        ├── NotFound           404
        ├── AlreadyExists      409: an object of this name exists
        ├── Conflict           409: it changed meanwhile, or a precondition does not hold
        ├── Expired            410: the resource version is too old; list again
        └── Throttled          429 or 503 with Retry-After

No typed models: a list of 5,000 volumes takes a third of the time and half of the memory as JSON, and
importing the models costs more than everything else this program does before its first call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from lundock_common.limits import Bucket, Pace

if TYPE_CHECKING:  # a quarter of what `vm-disks xml` takes, which asks no cluster where the files say it all
    import urllib3

Json = dict[str, Any]

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"

LEASE_GROUP = "coordination.k8s.io/v1"

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

CONNECT_TIMEOUT_S = 10
SILENCE_S = 90
"""A watch with bookmarks says something at least every minute; longer silence is a half-open socket."""

LIST_PAGE = 500


class KubernetesError(Exception):
    """Base of everything that a call raises."""


class NoConfiguration(KubernetesError):
    """Neither a kubeconfig nor a service account says where the API server is."""


class NoApiServer(KubernetesError):
    """The answer is not what an API server gives."""


class OutcomeUnknown(KubernetesError):
    """No answer came: the call may have been carried out. Every call here may be repeated."""


class Refused(KubernetesError):
    """The API server said no; `reason` is the machine's word for it (metav1.Status.reason)."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class NotFound(Refused):
    pass


class AlreadyExists(Refused):
    pass


class Conflict(Refused):
    pass


class Expired(Refused):
    pass


class Throttled(Refused):
    pass


def resource_of(path: str) -> str:
    """persistentvolumes of /api/v1/persistentvolumes/pvc-1: what a metric counts by."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else parts
    return parts[2] if parts[0] == "namespaces" and len(parts) > 2 else parts[0]


def objects_path(namespace: str, resource: str, group: str = "") -> str:
    """Of the objects of a kind in a namespace.

    Args:
        namespace: its name; quoted, for what a user wrote may hold a slash.
        resource: such as "leases".
        group: the API group with its version; the core API where empty.
    """
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{_segment(namespace)}/{resource}"


def object_path(namespace: str, resource: str, name: str, group: str = "") -> str:
    """Of one of them."""
    return f"{objects_path(namespace, resource, group)}/{_segment(name)}"


def claim_path(namespace: str, name: str) -> str:
    return object_path(namespace, "persistentvolumeclaims", name)


def volume_path(name: str) -> str:
    return f"{VOLUMES}/{_segment(name)}"


def secrets_path(namespace: str) -> str:
    return objects_path(namespace, "secrets")


def secret_path(namespace: str, name: str) -> str:
    return object_path(namespace, "secrets", name)


def leases_path(namespace: str) -> str:
    return objects_path(namespace, "leases", LEASE_GROUP)


def lease_path(namespace: str, name: str) -> str:
    return object_path(namespace, "leases", name, LEASE_GROUP)


def _segment(name: str) -> str:
    return quote(name, safe="")


class Watch:
    """One running watch: iterate for its events, `stop` from any thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[Json]:
        """Its events, as they come.

        Raises:
            OutcomeUnknown: the connection broke or fell silent, or what came is not JSON.
        """
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for chunk in self._response.stream(None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except (HTTPError, OSError, ValueError) as error:
            raise OutcomeUnknown(f"the watch broke off: {error}") from error
        finally:
            self._response.close()

    def stop(self) -> None:
        with suppress(Exception):
            self._response.shutdown()


class Kube:
    """Calls to one API server. Thread-safe; every method raises Refused, OutcomeUnknown or NoApiServer."""

    def __init__(
        self,
        configuration: Any,
        pace: Pace,
        pool_size: int = 32,
        observe: Callable[[str, str], None] = lambda _method, _resource: None,
        user_agent: str = "lundock",
    ) -> None:
        """`observe` is told the method and the resource of each call."""
        from kubernetes.client.rest import RESTClientObject
        from urllib3 import Timeout

        configuration.connection_pool_maxsize = pool_size
        self._configuration = configuration
        self._user_agent = user_agent
        self._pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._bucket = Bucket(pace.requests_per_second, pace.burst)
        self._timeout = Timeout(connect=min(CONNECT_TIMEOUT_S, pace.timeout_seconds), read=pace.timeout_seconds)
        self._watch_s = pace.watch_seconds
        self._observe = observe

    @property
    def host(self) -> str:
        """URL of the API server, as its configuration gives it."""
        return str(self._configuration.host)

    def get(self, path: str, **query: Any) -> Json:
        return self._call("GET", path, query)

    def create(self, path: str, body: Json) -> Json:
        return self._call("POST", path, body=body)

    def replace(self, path: str, body: Json) -> Json:
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Json | list[Json]) -> Json:
        """A JSON merge patch (RFC 7386), or a JSON patch (RFC 6902) where `body` is a list."""
        return self._call("PATCH", path, body=body, content_type=JSON_PATCH if isinstance(body, list) else MERGE_PATCH)

    def delete(self, path: str, uid: str | None = None, resource_version: str | None = None) -> Json | None:
        """Delete an object, where it is there.

        Args:
            path: the object's.
            uid: another object of the same name stays.
            resource_version: an object that changed since stays.

        Returns:
            What is left of it while finalizers keep it, a Status when it went, None when it was not there.

        Raises:
            Conflict: it stays, for it is another object or has changed.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        exactly = {name: value for name, value in wanted.items() if value is not None}
        try:
            return self._call("DELETE", path, body={"preconditions": exactly} if exactly else None)
        except NotFound:
            return None

    def list(self, path: str, **query: Any) -> tuple[list[Json], str]:
        """Every object, consistent at one moment, and the resource version to watch from.

        Raises:
            Expired: the API server does not know the next page any more; list again.
        """
        items: list[Json] = []
        query = {"limit": LIST_PAGE, **query}
        while True:
            page = self.get(path, **query)
            items += page["items"] or []
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = token

    def watch(self, path: str, resource_version: str) -> Watch:
        """What happens to the objects from this version on, with bookmarks."""
        from urllib3 import Timeout

        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": int(self._watch_s),
        }
        timeout = Timeout(connect=CONNECT_TIMEOUT_S, read=SILENCE_S)
        return Watch(self._send("GET", path, query, None, "", timeout, preload=False))

    def close(self) -> None:
        self._pool.clear()

    def _call(
        self,
        method: str,
        path: str,
        query: Json | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Json:
        self._bucket.take()
        self._observe(method, resource_of(path))
        response = self._send(method, path, query, body, content_type, self._timeout, preload=True)
        try:
            answer = json.loads(response.data)
        except ValueError as error:
            raise NoApiServer(f"{method} {path}: the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise NoApiServer(f"{method} {path}: the answer is no object")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Json | None,
        body: Any,
        content_type: str,
        timeout: urllib3.Timeout,
        *,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        from urllib3.exceptions import HTTPError

        url = f"{self.host}{path}"
        if query:
            url += "?" + urlencode(query)
        headers = {"Accept": "application/json", "User-Agent": self._user_agent}
        for setting in self._configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        content = None
        if body is not None:
            content = json.dumps(body)
            headers["Content-Type"] = content_type
        try:
            response = self._pool.request(
                method, url, body=content, headers=headers, timeout=timeout, preload_content=preload, retries=False
            )
        except (HTTPError, OSError) as error:
            raise OutcomeUnknown(f"{method} {path}: the API server gave no answer: {error}") from error
        if response.status >= 400:
            raise _refusal(method, path, response)
        return response


def _refusal(method: str, path: str, response: urllib3.BaseHTTPResponse) -> Refused:
    try:
        status = json.loads(response.data)
        reason, message = status.get("reason") or "", status.get("message") or ""
    except (ValueError, AttributeError):
        reason, message = response.reason or "", ""
    after = response.headers.get("Retry-After", "")
    kind: type[Refused] = Refused
    match response.status, reason:
        case 404, _:
            kind = NotFound
        case 409, "AlreadyExists":
            kind = AlreadyExists
        case 409, _:
            kind = Conflict
        case 410, _:
            kind = Expired
        case (429, _) | (503, _):
            kind = Throttled
    message = message or f"{method} {path} was refused"
    return kind(response.status, reason, message, float(after) if after.isdigit() else None)
