from __future__ import annotations

import threading
import time
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machine.waiting import wait_for
from lundock_common import limits
from lundock_common.retry import Backoff
from provisioner.kube.queue import WorkQueue


def queue() -> WorkQueue[str]:
    return WorkQueue(Backoff(0.01, 0.05))


def test_a_key_is_handed_out_once_however_often_it_is_added() -> None:
    work = queue()
    for _ in range(3):
        work.add("a")
    work.add("b")
    assert [work.get(), work.get()] == ["a", "b"]
    assert len(work) == 0


def test_a_key_that_is_added_while_worked_on_comes_again_afterwards() -> None:
    work = queue()
    work.add("a")
    assert work.get() == "a"
    work.add("a")
    assert len(work) == 0, "nobody else gets it meanwhile"
    work.done("a")
    assert work.get() == "a"


def test_a_failing_key_does_not_hold_up_the_others() -> None:
    work: WorkQueue[str] = WorkQueue(Backoff(60, 60))
    work.add("bad")
    assert work.get() == "bad"
    work.retry("bad")
    work.done("bad")
    work.add("good")
    assert work.get() == "good"


def test_it_comes_back_after_its_delay_and_the_earliest_wish_wins() -> None:
    work = queue()
    work.add_after("a", 60)
    work.add_after("a", 0.02)
    work.add_after("a", 60)
    started = time.monotonic()
    assert work.get() == "a"
    assert 0.015 < time.monotonic() - started < 30
    work.done("a")
    work.add_after("a", 60)
    work.add("a")
    assert work.get() == "a", "what has changed does not wait for a delay"


def test_stop_ends_the_waiting_workers_and_waits_for_the_working() -> None:
    work = queue()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(work.get()))
    thread.start()
    work.stop()
    thread.join(10)
    assert got == [None]
    assert work.wait_idle(0)


def test_wait_idle_is_honest() -> None:
    work = queue()
    work.add("a")
    work.get()
    assert not work.wait_idle(0.01)
    work.done("a")
    assert work.wait_idle(0.01)


@given(st.integers(1, 200))
def test_backoff_grows_with_jitter_and_stays_within_bounds(failures: int) -> None:
    delay = Backoff(0.5, 300).delay_s(failures)
    full = min(300, 0.5 * 2 ** (failures - 1))
    assert full / 2 <= delay <= full


def test_many_workers_lose_nothing_and_never_share_a_key() -> None:
    work: WorkQueue[int] = WorkQueue(Backoff(0.001, 0.002))
    lock, inside, seen = threading.Lock(), set[int](), dict[int, int]()
    shared: list[int] = []

    def worker() -> None:
        while (key := work.get()) is not None:
            with lock:
                if key in inside:
                    shared.append(key)
                inside.add(key)
                seen[key] = seen.get(key, 0) + 1
                again = seen[key] < 3
            with lock:
                inside.discard(key)
            work.done(key)
            if again:
                work.retry(key)

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for key in range(100):
        work.add(key)
    wait_for(lambda: sum(seen.values()) >= 300, timeout_s=30)
    work.stop()
    for thread in threads:
        thread.join(10)
    assert seen == dict.fromkeys(range(100), 3)
    assert not shared


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s


@given(st.integers(1, 20), st.integers(1, 1000))
def test_a_burst_passes_and_the_rest_waits(burst: int, per_second: int) -> None:
    clock = Clock()
    with mock.patch.object(limits, "time", clock):
        bucket = limits.Bucket(per_second, burst)
        assert [bucket.take() for _ in range(burst)] == [0.0] * burst
        for _ in range(50):
            bucket.take()
    assert clock.now == pytest.approx(50 / per_second)
