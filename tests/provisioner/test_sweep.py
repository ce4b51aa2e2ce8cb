from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provisioner import sweep
from provisioner.settings import SweepSettings
from provisioner.sweep import Named, Orphan
from provisioner.volumes import Identity
from target_image.agent import wire
from tests.provisioner.world import World

IDENTITY = Identity("iscsi.lundock.io", "ns/lundock", "cluster", "iqn.2026-11.io.lundock")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REMOVE = SweepSettings(mode="remove", grace_seconds=3600, max_fraction=0.1)


def volume(
    id: str, trashed_at: datetime | None = None, phase: wire.Phase = wire.Phase.READY, **owner: str
) -> wire.Volume:
    return wire.Volume(
        id=id,
        size_bytes=1,
        allocated_bytes=0,
        source=wire.EmptySource(),
        owner=wire.Owner(**{"cluster": "cluster", "release": "ns/lundock", "claim_uid": id[4:], **owner}),
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
    names = sweep.named(claims, pvs, IDENTITY)
    found = [volume(f"pvc-{name}") for name in ("claimed", "by-name-only", "own-name", "noted", "in-iqn", "nobody")]
    orphans = sweep.orphans(found, names, IDENTITY)
    assert [orphan.volume.id for orphan in orphans] == ["pvc-nobody"]
    assert "which is gone" in orphans[0].why


@pytest.mark.parametrize("theirs", [{"cluster": "another"}, {"release": "ns/another"}])
def test_what_is_not_ours_is_no_orphan(theirs: dict[str, str]) -> None:
    nobody = Named(frozenset(), frozenset())
    assert sweep.orphans([volume("pvc-a", **theirs)], nobody, IDENTITY) == []
    by_hand = volume("pvc-b").model_copy(update={"owner": None})
    assert sweep.orphans([by_hand], nobody, IDENTITY) == []


def judge(orphans: list[wire.Volume], total: int, since: timedelta, settings: SweepSettings = REMOVE) -> list[str]:
    found = [Orphan(item, "gone") for item in orphans]
    steps = sweep.judge(found, total, {item.id: NOW - since for item in orphans}, NOW, settings)
    return [step.action for step in steps]


@pytest.mark.parametrize(
    ("orphan", "since", "action"),
    [
        (volume("pvc-a"), HOUR / 2, "keep"),
        (volume("pvc-a"), HOUR, "trash"),
        (volume("pvc-a", phase=wire.Phase.FAILED), HOUR, "delete"),
        (volume("pvc-a", phase=wire.Phase.WORKING), HOUR / 2, "keep"),
        (volume("pvc-a", trashed_at=NOW - HOUR / 2), HOUR * 2, "keep"),
        (volume("pvc-a", trashed_at=NOW - HOUR), HOUR * 2, "delete"),
        (volume("pvc-a", trashed_at=NOW - HOUR * 9), HOUR / 2, "keep"),
    ],
)
def test_one_orphan(orphan: wire.Volume, since: timedelta, action: str) -> None:
    assert judge([orphan], 100, since) == [action]


@pytest.mark.parametrize(("count", "total", "actions"), [(10, 100, {"trash"}), (11, 100, {"keep"}), (1, 3, {"trash"})])
def test_never_more_than_a_tenth_at_once(count: int, total: int, actions: set[str]) -> None:
    assert set(judge([volume(f"pvc-{number}") for number in range(count)], total, HOUR)) == actions


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
    assert "No orphans" in sweep.print_table(world.sweeper.sweep())


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
    step = sweep.Step(Orphan(volume("pvc-a"), "made for claim ns/a, which is gone"), "trash", "an orphan for long")
    table = sweep.print_table([("t0", step)])
    assert table.splitlines()[0].split() == ["TARGET", "VOLUME", "SIZE", "ACTION", "REASON"]
    assert "made for claim ns/a, which is gone; an orphan for long" in table
