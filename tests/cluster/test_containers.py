"""A containerd of this test's own: what it stores survives, or is given up when it cannot be read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components import images
from cluster.components.build import build
from cluster.components.containers import Containers
from cluster.machine import daemons
from cluster.machine.processes import end
from cluster.places import Places
from tests.capabilities import need

pytestmark = pytest.mark.cluster


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    need("root", "containerd", "docker")
    daemons.start(daemons.DOCKER, print)
    with tempfile.TemporaryDirectory(prefix="containers-", dir="/run") as run:  # sockets' paths must be short
        made = Containers(Places(run=Path(run), data=tmp_path))
        yield made
        end(made.processes.all(), patience_s=5)


def test_an_image_is_copied_once_and_a_second_name_costs_nothing(containers: Containers) -> None:
    pause = images.make_pause_image(build(print))
    containers.start(images.full_name(pause), kubernetes=False)
    assert images.load(containers, pause)
    assert not images.load(containers, pause)
    assert list(containers.images()) == [images.full_name(pause)]


def test_containers_are_forgotten_and_images_stay(containers: Containers) -> None:
    pause = images.make_pause_image(build(print))
    containers.start(images.full_name(pause), kubernetes=False)
    images.load(containers, pause)
    containers.ctr("containers", "create", images.full_name(pause), "left-over")
    _forget(containers)
    containers.start(images.full_name(pause), kubernetes=False)
    assert containers.ctr("containers", "list", "--quiet") == ""
    assert "Active" not in containers.ctr("snapshots", "list")
    assert list(containers.images()) == [images.full_name(pause)]


def test_a_damaged_store_is_given_up(containers: Containers) -> None:
    containers.start("none", kubernetes=False)
    containers.processes.stop("containerd")
    database = containers.places.containerd / "io.containerd.metadata.v1.bolt" / "meta.db"
    database.write_bytes(b"\xff" * database.stat().st_size)
    _forget(containers)
    assert not database.exists()
    containers.start("none", kubernetes=False)


def _forget(containers: Containers) -> None:
    """`clean` without its first step, which would end the pods of the machine's cluster too."""
    end(containers.processes.all(), patience_s=0)
    containers.forget()
