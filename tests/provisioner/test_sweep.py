from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lundock_common import kubernetes_api
from provisioner.commands.sweep import render
from provisioner.planning import orphans as judging
from provisioner.planning.orphans import Named, Orphan
from provisioner.planning.volumes import Identity
from provisioner.settings import SweepSettings
from target_image.api import fields, responses
from target_image.api.client import Unreachable
from tests.provisioner.world import World

IDENTITY = Identity("iscsi.lundock.io", "ns/lundock", "cluster", "iqn.2026-11.io.lundock")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REMOVE = SweepSettings(mode="remove", grace_seconds=3600, max_fraction=0.1)


def volume(
    id: str,
    trashed_at: datetime | None = None,
    phase: fields.Phase = fields.Phase.READY,
    owner: dict[str, str] | None = None,
) -> responses.Volume:
    return responses.Volume(
        id=id,
        size_bytes=1,
        allocated_bytes=0,
        source=responses.EmptySource(),
        owner=responses.Owner(**{"cluster": "cluster", "release": "ns/lundock", "claim_uid": id[4:], **(owner or {})}),
        thin=True,
        phase=phase,
        created_at=NOW - 100 * HOUR,
        trashed_at=trashed_at,
    )


def pv(name: str, volume_id: str = "", iqn: str = "") -> dict[str, Any]:
    notes = {"lundock.io/volume": volume_id} if volume_id else {}
    return {"metadata": {"name": name, "annotations": notes}, "spec": {"iscsi": {"iqn": iqn}} if iqn else {}}


def test_who_names_a_volume() -> None:
    claims = [
        {"metadata": {"uid": "claimed"}, "spec": {}},
        {"metadata": {"uid": "x"}, "spec": {"volumeName": "pvc-by-name-only"}},
    ]
    pvs = [
        pv("pvc-own-name"),
        pv("restored", volume_id="pvc-noted"),
        pv("other", iqn="iqn.2026-11.io.lundock:pvc-in-iqn"),
        {"metadata": {"name": "nfs"}, "spec": {"nfs": {}}},
    ]
    names = judging.named(claims, pvs, IDENTITY)
    found = [volume(f"pvc-{name}") for name in ("claimed", "by-name-only", "own-name", "noted", "in-iqn", "nobody")]
    orphans = judging.orphans(found, names, IDENTITY)
    assert [orphan.volume.id for orphan in orphans] == ["pvc-nobody"]
    assert "which is gone" in orphans[0].why


@pytest.mark.parametrize("theirs", [{"cluster": "another"}, {"release": "ns/another"}])
def test_what_is_not_ours_is_no_orphan(theirs: dict[str, str]) -> None:
    nobody = Named(frozenset(), frozenset())
    assert judging.orphans([volume("pvc-a", owner=theirs)], nobody, IDENTITY) == []
    by_hand = volume("pvc-b").model_copy(update={"owner": None})
    assert judging.orphans([by_hand], nobody, IDENTITY) == []


def judge(orphans: list[responses.Volume], total: int, since: timedelta, settings: SweepSettings = REMOVE) -> list[str]:
    found = [Orphan(item, "gone") for item in orphans]
    steps = judging.judge(found, total, {item.id: NOW - since for item in orphans}, NOW, settings)
    return [step.action for step in steps]


@pytest.mark.parametrize(
    ("orphan", "since", "action"),
    [
        (volume("pvc-a"), HOUR / 2, "keep"),
        (volume("pvc-a"), HOUR, "trash"),
        (volume("pvc-a", phase=fields.Phase.FAILED), HOUR, "delete"),
        (volume("pvc-a", phase=fields.Phase.WORKING), HOUR / 2, "keep"),
        (volume("pvc-a", trashed_at=NOW - HOUR / 2), HOUR * 2, "keep"),
        (volume("pvc-a", trashed_at=NOW - HOUR), HOUR * 2, "delete"),
        (volume("pvc-a", trashed_at=NOW - HOUR * 9), HOUR / 2, "keep"),
    ],
)
def test_one_orphan(orphan: responses.Volume, since: timedelta, action: str) -> None:
    assert judge([orphan], 100, since) == [action]


@pytest.mark.parametrize(
    ("count", "total", "actions"),
    [
        (10, 100, {"trash"}),
        (11, 100, {"keep"}),
        (1, 3, {"trash"}),
        (1, 1, {"keep"}),
        (2, 2, {"keep"}),
        (2, 3, {"keep"}),
    ],
)
def test_never_more_than_a_tenth_at_once(count: int, total: int, actions: set[str]) -> None:
    assert set(judge([volume(f"pvc-{number}") for number in range(count)], total, HOUR)) == actions


def test_where_nothing_is_named_nothing_goes_until_that_is_asked_for() -> None:
    """A rebuilt cluster of one volume, too: a tenth of one is not one."""
    assert judge([volume("pvc-a")], 1, HOUR * 99) == ["keep"]
    everything = SweepSettings(mode="remove", grace_seconds=3600, max_fraction=1)
    assert judge([volume("pvc-a")], 1, HOUR * 99, everything) == ["trash"]


def test_a_report_removes_nothing() -> None:
    report = SweepSettings(mode="report", grace_seconds=0)
    assert judge([volume("pvc-a"), volume("pvc-b", trashed_at=NOW - HOUR * 99)], 2, HOUR * 99, report) == ["keep"] * 2


def test_an_orphan_goes_to_the_trash_and_then_away_with_its_secrets() -> None:
    world = World(targets=1)
    world.make_class("delete")
    claim = world.make_claim("a", "delete")
    world.refresh()
    world.fuse.arm(3, lambda: RuntimeError("killed"), after_effect=False)
    with pytest.raises(RuntimeError):
        world.reconcile(claim)
    del world.api.objects["/api/v1/namespaces/ns/persistentvolumeclaims/a"]
    agent = world.agents["t0"]
    world.start()
    world.api._create("/api/v1/namespaces/elsewhere/secrets", {"metadata": {"name": f"pvc-{claim.uid}-chap"}})
    assert world.api.under("secrets")
    dry = world.sweeper.sweep(dry_run=True)
    assert [(name, step.action) for name, step in dry] == [("t0", "trash")]
    assert agent.volumes[f"pvc-{claim.uid}"].trashed_at is None
    world.sweeper.sweep()
    assert agent.volumes[f"pvc-{claim.uid}"].trashed_at is not None
    assert not agent.exports
    world.sweeper.sweep()
    assert not agent.volumes
    assert not world.api.under("secrets")
    assert "No orphans" in render(world.sweeper.sweep(), "table")
    assert render([], "json") == "[]"


def orphaned(world: World, *names: str) -> list[str]:
    """Volumes that were finished, whose claims and PVs are gone."""
    made = [world.make_claim(name, "delete") for name in names]
    world.refresh()
    for claim in made:
        world.reconcile(claim)
    for name, claim in zip(names, made, strict=True):
        del world.api.objects[f"/api/v1/namespaces/ns/persistentvolumeclaims/{name}"]
        del world.api.objects[f"/api/v1/persistentvolumes/pvc-{claim.uid}"]
    world.start()
    return [f"pvc-{claim.uid}" for claim in made]


def test_an_orphan_in_use_does_not_hold_up_the_others() -> None:
    world = World(targets=1)
    world.make_class("delete")
    first, second, third = orphaned(world, "a", "b", "c")
    agent = world.agents["t0"]
    agent.set_sessions(second, 1)
    steps = {step.orphan.volume.id: step for _, step in world.sweeper.sweep()}
    assert {id: step.action for id, step in steps.items()} == {first: "trash", second: "keep", third: "trash"}
    assert "could not be done: InUse" in steps[second].why
    assert [id for id, item in agent.volumes.items() if item.trashed_at is None] == [second]
    assert second in agent.exports


def test_where_the_claims_secrets_are_out_of_reach_the_orphan_goes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with chap.secrets: release, where the provisioner has rights in one namespace only."""
    world = World(targets=1)
    world.make_class("delete")
    (name,) = orphaned(world, "a")
    world.api._create("/api/v1/namespaces/elsewhere/secrets", {"metadata": {"name": f"{name}-chap"}})
    delete = world.api.delete

    def restricted(path: str, uid: str | None = None) -> dict[str, Any] | None:
        if "/namespaces/ns/secrets/" in path:
            raise kubernetes_api.Refused(403, "Forbidden", "secrets is forbidden in ns")
        return delete(path, uid)

    monkeypatch.setattr(world.api, "delete", restricted)
    world.sweeper.sweep()
    world.sweeper.sweep()
    assert not world.agents["t0"].volumes
    assert [secret["metadata"]["namespace"] for secret in world.api.under("secrets")] == ["ns"]


class TestStrays:
    """A volume was begun on one target, the process died, the claim was given another target, and got its PV there."""

    def strayed(self, world: World) -> tuple[str, str, str]:
        """The volume's id, where it belongs, and where the stray is."""
        world.make_class("delete")
        claim = world.make_claim("a", "delete")
        world.refresh()
        world.reconcile(claim)
        world.settle()
        world.start()
        name = f"pvc-{claim.uid}"
        home = next(target for target, agent in world.agents.items() if name in agent.volumes)
        away = "t1" if home == "t0" else "t0"
        world.agents[away].volumes[name] = world.agents[home].volumes[name]
        return name, home, away

    def test_it_goes_and_takes_nothing_along(self) -> None:
        world = World()
        name, home, away = self.strayed(world)
        ((where, step),) = world.sweeper.sweep(dry_run=True)
        assert (where, step.action) == (away, "trash")
        assert f"on target {home}" in step.orphan.why
        world.sweeper.sweep()
        world.sweeper.sweep()
        assert not world.agents[away].volumes
        assert name in world.agents[home].exports
        assert [secret["metadata"]["name"] for secret in world.api.under("secrets")] == [f"{name}-chap"]

    @pytest.mark.parametrize("doubt", ["home lost it", "home has it in the trash", "home is down", "home is not known"])
    def test_in_doubt_it_is_the_only_one_there_is(self, monkeypatch: pytest.MonkeyPatch, doubt: str) -> None:
        world = World()
        name, home, away = self.strayed(world)
        agent = world.agents[home]
        if doubt == "home lost it":
            agent.volumes.clear()
        elif doubt == "home has it in the trash":
            agent.volumes[name] = agent.volumes[name].model_copy(update={"trashed_at": NOW})
        elif doubt == "home is down":

            def down(*_: object) -> None:
                raise Unreachable("refused")

            monkeypatch.setattr(agent, "get_volume", down)
            monkeypatch.setattr(agent, "list_volumes", down)
        else:
            pv = f"/api/v1/persistentvolumes/{name}"
            world.api._patch(pv, {"metadata": {"annotations": {"lundock.io/target": "t9"}}})
        world.sweeper.sweep()
        world.sweeper.sweep()
        assert world.agents[away].volumes[name].trashed_at is None


@pytest.mark.parametrize("which", ["persistentvolumeclaims", "persistentvolumes"])
def test_half_a_list_is_no_list(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Between two pages of a list the API server may forget the moment it is of (410): that sweep is over."""
    world = World(targets=1)
    world.make_class("delete")
    (name,) = orphaned(world, "a")
    whole = world.api.list

    def expires(path: str, **query: Any) -> tuple[list[dict[str, Any]], str]:
        if path.endswith(which):
            raise kubernetes_api.Expired(410, "Expired", "the provided continue parameter is too old")
        return whole(path, **query)

    monkeypatch.setattr(world.api, "list", expires)
    with pytest.raises(kubernetes_api.Expired):
        world.sweeper.sweep()
    assert name in world.agents["t0"].exports


def test_it_sweeps_only_while_it_may_act() -> None:
    world = World(targets=1)
    world.make_class("delete")
    orphaned(world, "a")
    at_once = world.settings.model_copy(
        update={"sweep": world.settings.sweep.model_copy(update={"interval_seconds": 0})}
    )
    world.sweeper._context = replace(world.sweeper._context, settings=at_once)
    world.sweeper.run(threading.Event(), may_act=lambda: False)
    assert world.agents["t0"].exports


def test_a_pv_without_its_volume_is_reported_and_kept() -> None:
    world = World(targets=1)
    world.make_class("delete")
    claim = world.make_claim("a", "delete")
    world.refresh()
    world.reconcile(claim)
    world.agents["t0"].exports.clear()
    world.agents["t0"].volumes.clear()
    world.sweeper.sweep()
    assert world.pv(f"pvc-{claim.uid}") is not None
    assert [said[1] for said in world.recorder.said if said[0] == "Warning"] == ["VolumeMissing"]
    assert 'lundock_provisioner_missing_volumes{target="t0"} 1.0' in world.metrics.render().decode()


def test_the_table_gives_reasons() -> None:
    step = judging.Step(Orphan(volume("pvc-a"), "made for claim ns/a, which is gone"), "trash", "an orphan for long")
    table = render([("t0", step)], "table")
    assert table.splitlines()[0].split() == ["TARGET", "VOLUME", "SIZE", "ACTION", "REASON"]
    assert "made for claim ns/a, which is gone; an orphan for long" in table
    reason = "made for claim ns/a, which is gone; an orphan for long"
    assert json.loads(render([("t0", step)], "json")) == [
        {"target": "t0", "volume": "pvc-a", "size_bytes": 1, "action": "trash", "reason": reason}
    ]
