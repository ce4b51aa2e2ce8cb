"""A stage for each test, since each breaks its own. LUNDOCK_FAULT_ROUNDS and _SEED make a run longer or repeat it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.capabilities import need
from tests.provisioner.stage import Process, Stage, TargetProcess

# A provisioner that dies between the volume and the PV leaves a volume behind when the claim goes meanwhile: that is
# what the sweep is for. Here it may take all of them at once, and soon.
SWEEP = {"mode": "remove", "intervalSeconds": 2, "graceSeconds": 2, "maxFraction": 1.0}


@pytest.fixture
def rounds() -> int:
    """How many faults a storm makes: few in ./test, hundreds by LUNDOCK_FAULT_ROUNDS=300 ./test tests/faults."""
    return int(os.environ.get("LUNDOCK_FAULT_ROUNDS", "12"))


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Seeded, and the seed is in the output of a test that fails."""
    seed = int(os.environ.get("LUNDOCK_FAULT_SEED", "20261124"))
    print(f"seed {seed}: LUNDOCK_FAULT_SEED={seed} ./test {request.node.nodeid}")
    return random.Random(seed)  # noqa: S311 - not for secrets


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    need("tgtd", "qemu-img", "qemu-iscsi", "iscsi-ls")
    target = TargetProcess(tmp_path, "target-0")
    target.up()
    yield target
    target.end()
    shutil.rmtree(target.run_dir, ignore_errors=True)


@pytest.fixture
def stage(control_plane: ControlPlane, target: TargetProcess, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(control_plane.kubeconfig, tmp_path, [target])
    stage.config["sweep"] = SWEEP
    stage.process = stage.provisioner()
    stage.up()
    yield stage
    stage.down()


@pytest.fixture
def standby(stage: Stage) -> Iterator[Process]:
    """The release's other replica, which waits for the Lease."""
    process = stage.provisioner("standby", http={"healthPort": 0, "metricsPort": 0})
    process.start()
    yield process
    process.end()
