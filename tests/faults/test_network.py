"""Answers that come late, wrong or never, from the API server and from the target's agent."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.faults.conftest import SWEEP
from tests.faults.tools import invariants
from tests.faults.tools.proxy import Fault, Proxy, before_api_server
from tests.provisioner.stage import Stage, TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

API_FAULTS = [Fault(status=code) for code in (409, 410, 429, 500, 503)] + [
    Fault(lose_answer=True),
    Fault(delay_s=0.5),
]
AGENT_FAULTS = [Fault(status=500), Fault(status=503), Fault(lose_answer=True), Fault(delay_s=3), Fault(delay_s=0.3)]
CLAIMS = 15


def make_and_delete(stage: Stage, dice: random.Random) -> None:
    """Claims come and some go again, while everything is being broken."""
    names = [f"net-{number}" for number in range(CLAIMS)]
    for name in names:
        stage.claim(name)
    for name in dice.sample(names, k=CLAIMS // 3):
        stage.delete_claim(name)


@pytest.fixture
def own_plane() -> Iterator[ControlPlane]:
    """An API server of this test alone: it is killed."""
    with ControlPlane.alone() as plane:
        yield plane


def test_an_api_server_that_errs(
    control_plane: ControlPlane, target: TargetProcess, tmp_path: Path, dice: random.Random
) -> None:
    with before_api_server(control_plane, tmp_path) as (proxy, kubeconfig):
        stage = Stage(control_plane.kubeconfig, tmp_path, [target])
        stage.kubeconfig = kubeconfig
        stage.process = stage.provisioner(sweep=SWEEP, leaderElection={"enabled": False})
        try:
            stage.up()
            proxy.choose = lambda _method, _path: dice.choice(API_FAULTS) if dice.random() < 0.3 else None
            make_and_delete(stage, dice)
            eventually(lambda: proxy.faults > 15, "faults to have been made", 120)
            proxy.choose = lambda _method, _path: None
            invariants.settled(stage, [target])
            invariants.strangers_stay_out(stage)
        finally:
            stage.down()


def test_an_api_server_that_is_away(own_plane: ControlPlane, target: TargetProcess, tmp_path: Path) -> None:
    """For LUNDOCK_FAULT_AWAY_S seconds; the Lease is lost meanwhile, so the process has to be started again."""
    stage = Stage(own_plane.kubeconfig, tmp_path, [target])
    stage.process = stage.provisioner(sweep=SWEEP)
    try:
        stage.up()
        stage.claim("before")
        stage.bound("before")
        own_plane.processes.stop("kube-apiserver", patience_s=0)
        assert stage.process.running is not None
        exit_code = stage.process.running.wait(30)
        assert exit_code != 0, "who has lost the Lease says so by its exit code"
        threading.Event().wait(float(os.environ.get("LUNDOCK_FAULT_AWAY_S", "5")))
        stage.process.start()
        own_plane.start()
        stage.claim("after")
        stage.bound("after", timeout_s=120)
        invariants.settled(stage, [target])
    finally:
        stage.down()


def test_an_agent_that_answers_late_or_never(
    control_plane: ControlPlane, target: TargetProcess, tmp_path: Path, dice: random.Random
) -> None:
    with Proxy(target.url).running() as proxy:
        stage = Stage(control_plane.kubeconfig, tmp_path, [target])
        stage.config["targets"][0]["url"] = proxy.url
        stage.process = stage.provisioner(sweep=SWEEP, targetCalls={"timeoutSeconds": 2})
        try:
            stage.up()
            proxy.choose = lambda _method, _path: dice.choice(AGENT_FAULTS) if dice.random() < 0.3 else None
            make_and_delete(stage, dice)
            eventually(lambda: proxy.faults > 10, "faults to have been made", 120)
            proxy.choose = lambda _method, _path: None
            invariants.settled(stage, [target])
            invariants.strangers_stay_out(stage)
        finally:
            stage.down()
