"""The final check of test_convergence fails wherever something is missing or left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from target_image.api import requests
from tests.provisioner.agent_twin import Agent
from tests.provisioner.converged import check_converged
from tests.provisioner.world import World


@pytest.fixture
def converged() -> World:
    """A claim with CHAP and one without, both bound, and a volume that is not ours."""
    world = World()
    world.make_class("delete")
    world.make_class("no-chap", parameters={"chap": "off"})
    world.agents["t0"].ensure_volume("by-hand", requests.VolumeSpec(size_bytes=1))
    world.provision("a")
    world.provision("b", "no-chap")
    world.converge()
    check_converged(world, {"by-hand"})
    return world


def served(world: World, claim: str) -> tuple[Agent, str]:
    """The agent that has the claim's volume, and the volume's id."""
    id = world.api.objects[f"/api/v1/namespaces/ns/persistentvolumeclaims/{claim}"]["spec"]["volumeName"]
    return next(agent for agent in world.agents.values() if id in agent.volumes), id


def empty_the_targets(world: World) -> None:
    for agent in world.agents.values():
        agent.exports.clear()
        agent.volumes.clear()


def empty_the_exports(world: World) -> None:
    for agent in world.agents.values():
        agent.exports.clear()


def drop_a_volume(world: World) -> None:
    agent, id = served(world, "b")
    agent.exports.pop(id)
    agent.volumes.pop(id)


def drop_an_export(world: World) -> None:
    agent, id = served(world, "b")
    agent.delete_export(id)


def drop_the_secret(world: World) -> None:
    _, id = served(world, "a")
    del world.api.objects[f"/api/v1/namespaces/ns/secrets/{id}-chap"]


def trash_a_volume(world: World) -> None:
    agent, id = served(world, "a")
    agent.delete_export(id)
    agent.trash_volume(id)


def shrink_a_volume(world: World) -> None:
    agent, id = served(world, "a")
    agent.volumes[id] = agent.volumes[id].model_copy(update={"size_bytes": 2**20})


def export_without_chap(world: World) -> None:
    agent, id = served(world, "a")
    agent.change_export(id, agent.exports[id][1].model_copy(update={"chap": None}))


def change_the_password(world: World) -> None:
    agent, id = served(world, "a")
    chap = requests.Chap.model_validate({"username": id, "password": "another-password"})
    agent.change_export(id, agent.exports[id][1].model_copy(update={"chap": chap}))


def move_a_volume(world: World) -> None:
    agent, id = served(world, "a")
    other = next(other for other in world.agents.values() if other is not agent)
    other.volumes[id], other.exports[id] = agent.volumes.pop(id), agent.exports.pop(id)


def leave_a_volume(world: World) -> None:
    owner = requests.Owner(cluster="cluster", release="ns/lundock", claim_uid="gone")
    world.agents["t1"].ensure_volume("pvc-gone", requests.VolumeSpec(size_bytes=1, owner=owner))


def leave_a_secret(world: World) -> None:
    world.api._create("/api/v1/namespaces/ns/secrets", {"metadata": {"name": "pvc-gone-chap", "namespace": "ns"}})


def drop_what_is_not_ours(world: World) -> None:
    del world.agents["t0"].volumes["by-hand"]


def drop_a_pv(world: World) -> None:
    _, id = served(world, "a")
    del world.api.objects[f"/api/v1/persistentvolumes/{id}"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (empty_the_targets, "there is no volume"),
        (empty_the_exports, "there is no export"),
        (drop_a_volume, "there is no volume"),
        (drop_an_export, "there is no export"),
        (drop_the_secret, "there is no Secret"),
        (trash_a_volume, "in the trash"),
        (shrink_a_volume, "the volume has 1048576 of"),
        (export_without_chap, "CHAP user is None"),
        (change_the_password, "does not open the export"),
        (move_a_volume, "there is no volume"),
        (leave_a_volume, "pvc-gone"),
        (leave_a_secret, "pvc-gone-chap"),
        (drop_what_is_not_ours, "of .'by-hand'. only .. are there"),
        (drop_a_pv, "got no volume"),
    ],
)
def test_the_final_check_fails(converged: World, spoil: Callable[[World], None], says: str) -> None:
    spoil(converged)
    with pytest.raises(AssertionError, match=says):
        check_converged(converged, {"by-hand"})
