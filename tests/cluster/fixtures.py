"""The real Kubernetes that tests ask for by name: imported by tests/conftest.py, so that every folder has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import embedded
from cluster.components.control_plane import ControlPlane
from cluster.embedded import Cluster
from cluster.machine import daemons
from tests.capabilities import need


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real API server with its controllers on loopback, without nodes: for tests of API clients. Needs no root.

    `control_plane.kubeconfig` is the administrator's kubeconfig, `control_plane.kubectl(...)` its kubectl.
    """
    with ControlPlane.alone() as plane:
        yield plane


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The whole embedded cluster, where pods run. Shared by all tests of this machine: use a namespace of your own.

    `cluster.kubeconfig`, `cluster.kubectl(...)`, `cluster.helm(...)`, and `cluster.load("lundock/target:0.1.0")`, which
    builds our images first. Taken down at the end, unless it was up before.
    """
    need("root", "containerd", "docker")
    daemons.start(daemons.DOCKER, print)
    with embedded.lease(print) as leased:
        yield leased
