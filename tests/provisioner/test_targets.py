"""A target's client: what its answers mean, and what becomes of one that does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from lundock_common.retry import Backoff
from provisioner.errors import Busy, Permanent, Transient
from provisioner.observing.metrics import Metrics
from provisioner.settings import TargetCallSettings, TargetSettings
from provisioner.targets import Target, connect
from target_image.api.client import TargetClient
from tests.provisioner.agent_twin import problem
from tests.waiting import eventually

CALLS = TargetCallSettings(timeout_seconds=0.5, concurrency=4)


def target(url: str) -> Target:
    settings = TargetSettings(name="t0", url=url, portal_host="t0")
    return Target(settings, CALLS, Metrics(), connect(settings, CALLS))


class BlackHole:
    """Takes connections and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    yield hole
    hole.close()


def ask(target: Target) -> str:
    with pytest.raises(Transient) as caught:
        target.capacity()
    return caught.value.code


def test_a_target_that_swallows_calls_holds_one_worker_and_not_all(hole: BlackHole) -> None:
    swallowing = target(hole.url)
    swallowing._backoff = Backoff(0, 0)  # its rest is over at once
    assert ask(swallowing) == "TargetDown"
    before = len(hole.taken)
    codes: list[str] = []
    first = threading.Thread(target=lambda: codes.append(ask(swallowing)))
    first.start()
    eventually(lambda: len(hole.taken) > before, "the first call")
    for _ in range(20):
        with pytest.raises(Transient, match="TargetDown") as caught:
            swallowing.capacity()
        assert caught.value.delay_s is not None
        assert caught.value.delay_s < 1.2, "as soon as the one has its answer, the others go on"
    assert len(hole.taken) == before + 1
    first.join(10)
    assert codes == ["TargetDown"]


def test_it_is_asked_again_after_its_rest_and_its_answer_ends_that() -> None:
    gone = target("http://127.0.0.1:1")
    gone._backoff = Backoff(0, 0)
    assert ask(gone) == "TargetDown"
    assert gone._call("look", lambda _client: 1) == 1
    assert gone._failures == 0
    assert [gone._call("look", lambda _client: 2) for _ in range(3)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("code", "kind", "told", "delay_s"),
    [
        ("identity-conflict", Permanent, "IdentityConflict", None),
        ("not-supported", Permanent, "NotSupported", None),
        ("no-space", Transient, "NoSpace", 30.0),
        ("in-use", Transient, "InUse", 15.0),
        ("engine-down", Transient, "EngineDown", None),
        ("not-a-target", Transient, "NotATarget", None),
    ],
)
def test_what_an_answer_means(code: str, kind: type[Permanent | Transient], told: str, delay_s: float | None) -> None:
    asked = target("http://127.0.0.1:1")

    def refuses(_client: TargetClient) -> None:
        raise problem(code, 409)

    with pytest.raises(kind) as caught:
        asked._call("make volume pvc-1", refuses)
    assert caught.value.code == told
    assert caught.value.detail.startswith("make volume pvc-1 on target t0: ")
    assert getattr(caught.value, "delay_s", None) == delay_s


def test_what_is_no_target_rests_too() -> None:
    """A proxy that answers for a pod that is away."""
    asked = target("http://127.0.0.1:1")

    def refuses(_client: TargetClient) -> None:
        raise problem("not-a-target", 502)

    call: Callable[[], None] = lambda: asked._call("look", refuses)  # noqa: E731
    with pytest.raises(Transient, match="NotATarget"):
        call()
    with pytest.raises(Transient, match="TargetDown"):
        call()


def test_a_slow_target_keeps_nobody_waiting_for_long() -> None:
    slow, hold = target("http://127.0.0.1:1"), threading.Event()
    workers = [
        threading.Thread(target=lambda: slow._call("copy", lambda _client: hold.wait(10)))
        for _ in range(CALLS.concurrency)
    ]
    for worker in workers:
        worker.start()
    eventually(lambda: slow._turns._value == 0, "all turns to be taken")
    with pytest.raises(Busy):
        slow._call("look", lambda _client: None)
    hold.set()
    for worker in workers:
        worker.join(10)
    assert slow._call("look", lambda _client: 1) == 1
