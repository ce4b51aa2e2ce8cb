"""The targets: one client each, with a limit of calls at a time, and a rest when one does not answer.

A target that is down or slow takes only its own claims with it: after a failure, calls to it fail at once
until its rest is over, and no call waits long for another's turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import structlog

from lundock_common import quantity
from lundock_common.retry import Backoff
from provisioner.errors import Busy, Permanent, Transient
from provisioner.observing import tracing
from provisioner.observing.metrics import Metrics
from provisioner.settings import Settings, TargetCallSettings, TargetSettings
from target_image.api import requests, responses
from target_image.api.client import ApiProblem, TargetClient, TargetError
from target_image.api.problems import Code

T = TypeVar("T")
log = structlog.get_logger()

TURN_S = 0.5
"""How long a worker waits for its turn at a target before it does something else."""

PROBE_S = 1.0
"""How long the others wait while one caller finds out whether a target is there again."""

CAPACITY_TTL_S = 2.0

PERMANENT: frozenset[str] = frozenset({Code.IDENTITY_CONFLICT, Code.NAME_TAKEN, Code.INVALID, Code.NOT_SUPPORTED})
"""The agent's codes that no repetition changes."""

DELAYS_S: dict[str, float] = {
    Code.UNKNOWN_IMAGE: 60.0,
    Code.IMAGE_FAILED: 120.0,
    Code.UNAUTHORIZED: 30.0,
    Code.NO_SPACE: 30.0,
    Code.IN_USE: 15.0,
    Code.START_GRACE: 10.0,
}
"""When to ask again, for codes that somebody has to do something about."""


def code_of(problem: str) -> str:
    """The stable code as it starts an event's message: no-space -> NoSpace."""
    return "".join(word.capitalize() for word in problem.split("-"))


class Target:
    """One target. Thread-safe.

    Each call raises Permanent or Transient with what was attempted and what to do, and Busy while too many others
    are at it.
    """

    def __init__(
        self, settings: TargetSettings, calls: TargetCallSettings, metrics: Metrics, client: TargetClient
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self._client = client
        self._timeout_s = calls.timeout_seconds
        self._turns = threading.BoundedSemaphore(calls.concurrency)
        self._backoff = Backoff(1.0, 30.0)
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = 0.0
        self._asked_until = 0.0
        """After a failure one caller asks, until then at most."""
        self._capacity: tuple[float, int] | None = None
        self._up = metrics.target_up.labels(self.name)

    def ensure_volume(self, id: str, spec: requests.VolumeSpec) -> responses.Volume:
        """Make the volume, or find it made; its phase says how far it is."""
        return self._call(f"make volume {id}", lambda client: client.ensure_volume(id, spec))

    def get_volume(self, id: str) -> responses.Volume | None:
        """The volume, or None."""
        return self._call(f"look for volume {id}", lambda client: client.get_volume(id))

    def list_volumes(self) -> list[responses.Volume]:
        """Every volume, whoever owns it."""
        return self._call("list the volumes", lambda client: client.list_volumes())

    def grow_volume(self, id: str, size_bytes: int) -> int:
        """Make the volume at least this large.

        Returns:
            How large it is.
        """
        what = f"grow volume {id} to {quantity.render(size_bytes)}"
        return self._call(what, lambda client: client.grow_volume(id, size_bytes).size_bytes)

    def trash_volume(self, id: str) -> None:
        """Put the volume aside, data kept."""
        self._call(f"put volume {id} into the trash", lambda client: client.trash_volume(id))

    def restore_volume(self, id: str) -> None:
        """Take the volume out of the trash."""
        self._call(f"take volume {id} out of the trash", lambda client: client.restore_volume(id))

    def delete_volume(self, id: str) -> None:
        """Delete the volume and its data. Succeeds if it does not exist."""
        self._call(f"delete volume {id}", lambda client: client.delete_volume(id))

    def ensure_export(self, id: str, spec: requests.ExportSpec) -> responses.Export:
        """Serve the volume as it is asked for, whatever the export was before."""

        def ensure(client: TargetClient) -> responses.Export:
            try:
                return client.ensure_export(id, spec)
            except ApiProblem as problem:
                if problem.code != Code.PRECONDITION_REQUIRED:
                    raise
                return client.change_export(id, spec)

        return self._call(f"export volume {id}", ensure)

    def get_export(self, id: str) -> responses.Export | None:
        """The export, or None."""
        return self._call(f"look for the export of volume {id}", lambda client: client.get_export(id))

    def change_password(self, id: str, spec: requests.ExportSpec) -> None:
        """Give the export the credentials of `spec`."""
        self._call(f"replace the password of {id}", lambda client: client.change_export(id, spec))

    def delete_export(self, id: str) -> None:
        """Stop serving the volume. Succeeds if it is not served."""
        self._call(f"stop exporting volume {id}", lambda client: client.delete_export(id))

    def put_image(self, name: str, spec: requests.ImageSpec) -> None:
        """Register an image under this name; the target begins to fetch it."""
        self._call(f"register the image {spec.urls[0]}", lambda client: client.put_image(name, spec))

    def capabilities(self) -> responses.Capabilities:
        """What the target can do."""
        return self._call("ask what it can do", lambda client: client.capabilities())

    def capacity(self) -> responses.Capacity:
        """Its space."""
        return self._call("ask for free space", lambda client: client.capacity())

    def _call(self, what: str, do: Callable[[TargetClient], T]) -> T:
        self._check_rest()
        if not self._turns.acquire(timeout=TURN_S):
            raise Busy("TargetBusy", f"{what}: target {self.name} is busy.", TURN_S)
        try:
            self._check_rest(will_call=True)
            with tracing.span("target call", what=what, target=self.name):
                answer = do(self._client)
        except ApiProblem as problem:
            if problem.code == Code.NOT_A_TARGET:
                self._note_failure(str(problem))
            else:
                self._note_answer()
            raise _translate(what, self.name, problem) from problem
        except TargetError as error:
            raise self._down(self._note_failure(str(error))) from error
        finally:
            self._turns.release()
        self._note_answer()
        return answer

    def available_bytes(self) -> int:
        """The largest volume it would promise, as of a moment ago."""
        if self._capacity is None or time.monotonic() > self._capacity[0] + CAPACITY_TTL_S:
            self._capacity = (time.monotonic(), self.capacity().available_bytes)
        return self._capacity[1]

    def count_promise(self, size_bytes: int) -> None:
        """Take what was just placed there off the room, until it is asked again."""
        if self._capacity is not None:
            self._capacity = (self._capacity[0], self._capacity[1] - size_bytes)

    def close(self) -> None:
        self._client.close()

    def _check_rest(self, *, will_call: bool = False) -> None:
        """Let nobody call while the target rests after a failure, and then one caller first.

        So a target that swallows every call (a time-out each) holds one worker, and not as many as it has turns.

        Args:
            will_call: the caller asks the target now; after a failure the others wait for what it finds.

        Raises:
            Transient: the target rests, or another caller is finding out whether it answers.
        """
        with self._lock:
            now = time.monotonic()
            rest_s = self._rests_until - now
            if rest_s <= 0 and self._asked_until > now:
                rest_s = min(PROBE_S, self._asked_until - now)
            if rest_s > 0:
                raise Transient(
                    "TargetDown", f"target {self.name} does not answer; its volumes wait for it.", rest_s + 0.1
                )
            if self._failures and will_call:
                self._asked_until = now + self._timeout_s + 1.0

    def _down(self, rest_s: float) -> Transient:
        """Always the same sentence, so that each claim tells it once; the log has the details."""
        detail = f"target {self.name} does not answer at {self.settings.url}; its volumes wait until it does."
        return Transient("TargetDown", detail, rest_s + 0.1)

    def _note_answer(self) -> None:
        self._up.set(1)
        if self._failures:
            log.info("target answers again", target=self.name)
        with self._lock:
            self._failures = 0
            self._rests_until = self._asked_until = 0.0

    def _note_failure(self, error: str) -> float:
        self._up.set(0)
        with self._lock:
            self._failures += 1
            rest_s = self._backoff.delay_s(self._failures)
            self._rests_until, self._asked_until = time.monotonic() + rest_s, 0.0
        log.warning("target does not answer", target=self.name, failures=self._failures, error=error)
        return rest_s


def _translate(what: str, target: str, problem: ApiProblem) -> Permanent | Transient:
    code, detail = code_of(problem.code), f"{what} on target {target}: {problem.detail}"
    if problem.sessions:
        who = sorted({session.initiator for session in problem.sessions})
        detail += f" Live sessions of: {', '.join(who)}."
    if problem.code in PERMANENT:
        return Permanent(code, detail)
    return Transient(code, detail, problem.retry_after_s or DELAYS_S.get(problem.code))


Connect = Callable[[TargetSettings, TargetCallSettings], TargetClient]


def connect(settings: TargetSettings, calls: TargetCallSettings) -> TargetClient:
    """A client for the target; nothing is sent yet."""
    return TargetClient(
        settings.url,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
        timeout_s=calls.timeout_seconds,
        pool_size=calls.concurrency,
    )


class Targets(Mapping[str, Target]):
    """Every configured target by name."""

    def __init__(self, settings: Settings, metrics: Metrics, connect: Connect = connect) -> None:
        calls = settings.target_calls
        self.settings = settings.targets
        self._targets = {item.name: Target(item, calls, metrics, connect(item, calls)) for item in settings.targets}

    def __getitem__(self, name: str) -> Target:
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def require(self, name: str) -> Target:
        """The target of this name.

        Raises:
            Transient: TargetUnknown: it is not configured; the configuration is what has to change.
        """
        if name not in self._targets:
            known = ", ".join(self._targets)
            raise Transient(
                "TargetUnknown",
                f"the volume is on target {name!r}, which is not configured (configured are {known}); "
                "put it back into the provisioner's configuration.",
                300.0,
            )
        return self._targets[name]

    def close(self) -> None:
        for target in self._targets.values():
            target.close()
