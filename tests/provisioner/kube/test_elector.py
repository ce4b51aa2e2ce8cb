"""The election: one holds the Lease at a time, lets go of it, and ends when it cannot keep it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import Configuration

from lundock_common import kubernetes_api
from lundock_common.kubernetes_api import Kube
from lundock_common.limits import Pace
from provisioner.kube import elector
from provisioner.kube.elector import Elector
from provisioner.settings import LeaderElectionSettings
from tests.provisioner.twins import Api, Json
from tests.waiting import eventually

LEASE = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/lundock"


def settings(duration_s: float = 0.9, deadline_s: float = 0.5, retry_s: float = 0.05) -> LeaderElectionSettings:
    return LeaderElectionSettings(
        namespace="ns",
        name="lundock",
        lease_duration_seconds=duration_s,
        renew_deadline_seconds=deadline_s,
        retry_period_seconds=retry_s,
    )


class Replica:
    """An elector, and whether it was told that it lost."""

    def __init__(self, kube: Any, name: str, how: LeaderElectionSettings | None = None) -> None:
        self.lost, self.stopping = threading.Event(), threading.Event()
        self.elector = Elector(cast(Kube, kube), how or settings(), name, self.lost.set)
        self.won = False
        self._thread = threading.Thread(target=self._acquire, daemon=True)

    def _acquire(self) -> None:
        self.won = self.elector.acquire(self.stopping)

    def start(self) -> Replica:
        self._thread.start()
        return self

    def end(self) -> None:
        """As a killed process: nothing is renewed any more, and nothing is let go."""
        self.stopping.set()
        self.elector._stopping.set()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    made: list[Replica] = []
    yield made
    for replica in made:
        replica.end()


def test_one_leads_and_the_other_takes_over_when_it_lets_go(api: Api, replicas: list[Replica]) -> None:
    long = settings(duration_s=600, deadline_s=300)
    first, second = Replica(api, "first", long), Replica(api, "second", long)
    replicas += [first.start()]
    eventually(lambda: first.won, "the first to lead")
    replicas += [second.start()]
    eventually(lambda: second.elector._seen[0], "the second to have looked")
    assert first.elector.holds()
    assert not second.won
    first.elector.release()
    eventually(lambda: second.won, "the second to lead, long before the lease runs out", 20)
    lease = api.objects[LEASE]["spec"]
    assert (lease["holderIdentity"], lease["leaseTransitions"]) == ("second", 1)


def test_a_killed_ones_lease_runs_out(api: Api, replicas: list[Replica]) -> None:
    first, second = Replica(api, "first"), Replica(api, "second")
    replicas += [first.start()]
    eventually(lambda: first.won, "the first to lead")
    replicas += [second.start()]
    first.end()
    eventually(lambda: second.won, "the second to lead")
    assert not first.elector.holds()
    assert not first.lost.is_set(), "a killed process does nothing more"


def test_who_sees_another_holder_has_lost(api: Api, replicas: list[Replica]) -> None:
    replica = Replica(api, "first").start()
    replicas.append(replica)
    eventually(lambda: replica.won, "it to lead")
    spec = {"holderIdentity": "somebody-else", "leaseDurationSeconds": 600}
    api._patch(LEASE, {"spec": spec})
    assert replica.lost.wait(20)
    assert api.objects[LEASE]["spec"]["holderIdentity"] == "somebody-else"


def test_a_stranger_that_touches_the_lease_takes_nothing_away(api: Api, replicas: list[Replica]) -> None:
    replica = Replica(api, "first").start()
    replicas.append(replica)
    eventually(lambda: replica.won, "it to lead")
    api._patch(LEASE, {"metadata": {"labels": {"seen": "yes"}}})
    before = api.objects[LEASE]["metadata"]["resourceVersion"]
    eventually(lambda: int(api.objects[LEASE]["metadata"]["resourceVersion"]) > int(before) + 2, "it to be renewed")
    assert not replica.lost.is_set()
    assert replica.elector.holds()


def test_who_cannot_renew_ends_before_another_may_begin(
    api: Api, replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(api, "first").start()
    replicas.append(replica)
    eventually(lambda: replica.won, "it to lead")

    def away(*_: object) -> Json:
        raise kubernetes_api.OutcomeUnknown("no answer")

    monkeypatch.setattr(api, "get", away)
    monkeypatch.setattr(api, "replace", away)
    assert replica.lost.wait(20)
    assert replica.elector.holds(), "the deadline comes before the lease runs out"


def test_an_answer_that_drips_for_ever_does_not_keep_it_alive(replicas: list[Replica]) -> None:
    """Each byte is in time for the socket's time-out; the whole never comes."""
    drips, over = threading.Event(), threading.Event()
    lease: Json = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_call(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if body:
                lease.update(json.loads(body))
                lease["metadata"]["resourceVersion"] = "1"
            content = json.dumps(lease or {"reason": "NotFound"}).encode()
            self.send_response(200 if lease else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not drips.is_set():
                self.wfile.write(content)
                return
            while not over.wait(0.05):
                self.wfile.write(b" ")
            self.close_connection = True

        do_GET = do_POST = do_PUT = handle_call  # noqa: N815 (http.server's names)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = Configuration(host=f"http://127.0.0.1:{server.server_port}")
    replica = Replica(Kube(host, Pace(timeout_seconds=0.25)), "first").start()
    replicas.append(replica)
    try:
        eventually(lambda: replica.won, "it to lead")
        drips.set()
        assert replica.lost.wait(20)
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_the_lease_says_no_less_than_its_holder_counts_on(api: Api) -> None:
    assert Replica(api, "first", settings(duration_s=1.4)).elector._try()
    assert api.objects[LEASE]["spec"]["leaseDurationSeconds"] == 2


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.sampled_from([0.0, 0.5, 1.0, 4.0, 9.0, 16.0]),
        st.sampled_from(["answered", "answered", "lost before", "lost after"]),
    ),
    max_size=60,
)


@given(STEPS)
def test_two_never_hold_it_at_the_same_time(steps: list[tuple[int, float, str]]) -> None:
    """Whoever tries when, however long it sleeps in between, and whatever answers get lost."""
    api, clock = Api(), Clock()
    times = settings(duration_s=15, deadline_s=10, retry_s=2)
    replicas = [Replica(api, name, times).elector for name in ("first", "second")]
    with mock.patch.object(elector, "time", clock):
        for who, passes_s, how in steps:
            clock.now += passes_s
            if how != "answered":
                api.fuse.arm(0, lambda: kubernetes_api.OutcomeUnknown("no answer"), after_effect=how == "lost after")
            try:
                replicas[who]._try()
            except kubernetes_api.OutcomeUnknown:
                pass
            finally:
                api.fuse.disarm()
            assert not (replicas[0].holds() and replicas[1].holds())
