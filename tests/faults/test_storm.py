"""kill -9 of everything at random moments, while claims come, are written to, and go."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from functools import partial

import pytest

from tests.faults.tools import invariants
from tests.faults.tools.disks import Written
from tests.provisioner.stage import Process, Stage, TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]


def kill_tgtd(target: TargetProcess) -> None:
    """kill -9 of the engine alone: the agent has to notice."""
    assert target.running is not None
    subprocess.run(["pkill", "-KILL", "-x", "-P", str(target.running.pid), "tgtd"], check=False, timeout=10)


def kill_target(target: TargetProcess) -> None:
    """kill -9 of the agent with its engine, as a pod's end does it, and a start of the next."""
    target.kill()
    target.up()


def kill_all(provisioners: list[Process]) -> None:
    """kill -9 of each before any of them is back."""
    for process in provisioners:
        process.kill()
    for process in provisioners:
        process.start()


def test_everything_converges_after_a_storm_of_kills(
    stage: Stage, standby: Process, target: TargetProcess, rounds: int, dice: random.Random
) -> None:
    claims: list[str] = []
    written: dict[str, Written] = {}
    bystander, untouched = invariants.bystander(target)
    kills: list[Callable[[], None]] = [
        lambda: kill_all([stage.process]),
        lambda: kill_all([stage.process, standby]),
        lambda: kill_tgtd(target),
        lambda: kill_target(target),
    ]
    for number in range(rounds):
        new = [f"storm-{number}-{copy}" for copy in range(dice.randint(1, 3))]
        gone = dice.sample(claims, k=min(len(claims), dice.randint(0, 2)))

        def change(new: list[str] = new, gone: list[str] = gone) -> None:
            for name in new:
                stage.claim(name)
            for name in gone:
                stage.delete_claim(name)

        changing = threading.Thread(target=change)
        changing.start()
        # The moment is what is random: before, amid and after the work that the claims cause.
        changing.join(timeout=dice.uniform(0, 0.5))
        dice.choice(kills)()
        changing.join()
        claims = [name for name in claims if name not in gone] + new
        for name in gone:
            written.pop(name, None)
        if number % 3 == 0:
            invariants.settled(stage, [target])
            name = dice.choice(claims)
            disk = invariants.disk_of(stage, stage.bound(name))
            write = partial(written.setdefault(name, Written()).write, disk, dice.randrange(64), dice.randrange(1, 256))
            eventually(write, f"a write to {name} to be acknowledged")
    standby.kill()
    eventually(stage.working, "the provisioner to lead again")
    invariants.settled(stage, [target])
    invariants.data_is_there(stage, written)
    invariants.strangers_stay_out(stage)
    for name in claims:
        stage.delete_claim(name)
    invariants.settled(stage, [target])
    assert [volume.id for volume in target.client.list_volumes()] == [invariants.BYSTANDER]
    untouched.verify(bystander)


def test_two_provisioners_at_once_break_nothing(stage: Stage, target: TargetProcess, dice: random.Random) -> None:
    """Even without an election: every call can be repeated, whoever makes it."""
    other = stage.provisioner("other", leaderElection={"enabled": False}, http={"healthPort": 0, "metricsPort": 0})
    other.start()
    try:
        names = [f"twice-{number}" for number in range(20)]
        for name in names:
            stage.claim(name)
        for name in dice.sample(names, k=8):
            stage.delete_claim(name)
        invariants.settled(stage, [target])
        invariants.strangers_stay_out(stage)
    finally:
        other.end()
