"""The stage: a real API server, a real target with a real tgtd, and the real provisioner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.capabilities import need
from tests.provisioner.stage import Stage, TargetProcess, target_running
from tests.provisioner.world import World


@pytest.fixture
def world() -> World:
    """The twins, for tests of the reconciler alone."""
    world = World(targets=2)
    world.make_class("delete", allowVolumeExpansion=True)
    return world


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetProcess]:
    need("tgtd")
    with target_running(tmp_path_factory.mktemp("target"), "target-0") as target:
        yield target


@pytest.fixture(scope="session")
def stage(
    control_plane: ControlPlane, target: TargetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Shared by the tests that only make claims."""
    stage = Stage(control_plane.kubeconfig, tmp_path_factory.mktemp("stage"), [target])
    stage.up()
    yield stage
    stage.down()


@pytest.fixture
def own_stage(control_plane: ControlPlane, target: TargetProcess, tmp_path: Path) -> Iterator[Stage]:
    """For tests that stop, kill or configure the provisioner; not started yet."""
    stage = Stage(control_plane.kubeconfig, tmp_path, [target])
    yield stage
    stage.down()
