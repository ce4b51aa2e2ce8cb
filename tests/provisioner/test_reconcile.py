"""The reconciler's decisions that a claim's owner notices, against the twins."""

from __future__ import annotations

from typing import Any

import pytest

from lundock_common.kubernetes_api import OutcomeUnknown
from provisioner.outcomes import Again, Done
from provisioner.planning.claims import TARGET, ClaimName
from provisioner.planning.plan import Ignore
from target_image.api import fields, requests, responses
from target_image.api.client import Unreachable
from tests.provisioner.world import World

DIGEST = "sha256:" + "0" * 64


def test_the_target_is_noted_before_anything_is_made_there(world: World) -> None:
    name = world.provision("a")
    calls = [call for call in world.api.calls if call[0] == "PATCH"]
    assert calls == [("PATCH", "/api/v1/namespaces/ns/persistentvolumeclaims/a")]
    noted = world.api.objects["/api/v1/namespaces/ns/persistentvolumeclaims/a"]["metadata"]["annotations"][TARGET]
    assert name in world.agents[noted].volumes


def test_with_one_target_nothing_needs_noting() -> None:
    world = World(targets=1)
    world.make_class("delete")
    world.provision("a")
    made = [path.rpartition("/")[0].rpartition("/")[2] for method, path in world.api.calls if method == "POST"]
    assert made == ["storageclasses", "persistentvolumeclaims", "secrets", "persistentvolumes"]
    assert len(world.api.calls) == len(made)


def test_the_roomiest_target_is_chosen_among_those_of_the_class(world: World) -> None:
    world.agents["t0"].room_bytes = 2**42
    assert world.provision("a") in world.agents["t0"].volumes
    world.make_class("on-t1", parameters={"target": "disk=t1"})
    assert world.provision("b", "on-t1") in world.agents["t1"].volumes


def test_no_target_has_room(world: World) -> None:
    claim = world.make_claim("a", "delete", size="1Pi")
    world.refresh()
    assert isinstance(world.reconcile(claim), Again)
    (kind, reason, message) = world.recorder.said[-1]
    assert (kind, reason) == ("Warning", "ProvisioningFailed")
    assert message.startswith("NoSpace:")
    assert not world.agents["t0"].volumes


def test_an_unknown_image_makes_nothing_and_is_asked_for_again_later(world: World) -> None:
    claim = world.make_claim("a", "delete", notes={"lundock.io/image": "nope"})
    world.refresh()
    outcome = world.reconcile(claim)
    assert isinstance(outcome, Again)
    assert outcome.delay_s is not None
    assert outcome.delay_s >= 30
    assert world.recorder.said[-1][2].startswith("UnknownImage:")
    for agent in world.agents.values():
        agent.images["nope"] = None
    world.refresh()
    assert world.reconcile(claim) == Done()


def test_an_old_copy_of_a_claim_is_asked_for_again_with_back_off(world: World) -> None:
    """A note on the claim needs its newest version; a watch may be silent for a minute and a half."""
    claim = world.make_claim("a", "delete")
    world.refresh()
    world.api._patch("/api/v1/namespaces/ns/persistentvolumeclaims/a", {"metadata": {"labels": {"x": "y"}}})
    assert [world.reconcile(claim) for _ in range(3)] == [Again(None)] * 3
    assert not any(agent.volumes for agent in world.agents.values())
    assert not world.recorder.said
    world.refresh()
    assert world.reconcile(claim) == Done()


def test_nothing_is_remembered_of_a_claim_that_went_though_its_pv_had_come(world: World) -> None:
    claim, on = begin(world, "a")
    ready = {"phase": fields.Phase.READY}
    agent, name = world.agents[on], f"pvc-{claim.uid}"
    agent.volumes[name] = agent.volumes[name].model_copy(update=ready)
    world.refresh()
    world.fuse.arm(3, lambda: OutcomeUnknown("no answer"), after_effect=True)  # ensure, export, Secret; the PV is made
    assert world.reconcile(claim) == Again(None)
    world.fuse.disarm()
    assert world.pv(name)
    world.api._delete("/api/v1/namespaces/ns/persistentvolumeclaims/a", None)
    world.claims.refresh()
    assert world.reconcile(claim) == Done()
    assert name in agent.volumes, "its PV is what it goes with"
    assert not world.reconcile._maker._attempts


def test_a_wrong_class_is_refused_once_and_not_retried(world: World) -> None:
    world.make_class("typo", parameters={"fstyp": "xfs"})
    claim = world.make_claim("a", "typo")
    world.refresh()
    assert world.reconcile(claim) == Done()
    assert world.recorder.said[-1][:2] == ("Warning", "ProvisioningFailed")
    assert world.recorder.said[-1][2].startswith("UnknownParameter:")


def test_what_was_begun_with_another_source_is_begun_again(world: World) -> None:
    claim = world.make_claim("a", "delete", notes={"lundock.io/image": "demo"})
    for agent in world.agents.values():
        agent.working.add(f"pvc-{claim.uid}")
    world.refresh()
    assert isinstance(world.reconcile(claim), Again)
    path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
    world.api._patch(path, {"metadata": {"annotations": {"lundock.io/image": None}}})
    for agent in world.agents.values():
        agent.working.clear()
    world.refresh()
    assert isinstance(world.reconcile(claim), Again)
    assert world.reconcile(claim) == Done()
    (volume,) = [volume for agent in world.agents.values() for volume in agent.volumes.values()]
    assert volume.source == responses.EmptySource()


def begin(world: World, name: str, class_name: str = "delete", **claim: Any) -> tuple[ClaimName, str]:
    """A claim whose volume is being filled, and the target that it is on."""
    made = world.make_claim(name, class_name, notes={"lundock.io/image": "demo"}, **claim)
    for agent in world.agents.values():
        agent.working.add(f"pvc-{made.uid}")
    world.refresh()
    assert isinstance(world.reconcile(made), Again)
    (on,) = (target for target, agent in world.agents.items() if agent.volumes)
    for agent in world.agents.values():
        agent.working.clear()
    return made, on


def test_when_another_target_is_chosen_nothing_stays_on_the_former_one(world: World) -> None:
    """As somebody does who follows the sentence of NoSuchTarget."""
    claim, first = begin(world, "a")
    second = "t1" if first == "t0" else "t0"
    path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
    world.api._patch(path, {"metadata": {"annotations": {TARGET: second}}})
    world.refresh()
    assert world.reconcile(claim) == Done()
    assert not world.agents[first].volumes
    assert f"pvc-{claim.uid}" in world.agents[second].exports


def test_a_class_that_is_made_again_with_another_secret_namespace_leaves_no_secret_behind(world: World) -> None:
    claim = world.make_claim("a", "delete")
    world.refresh()
    world.fuse.arm(4, lambda: OutcomeUnknown("no answer"), after_effect=False)  # before the PV is made
    assert isinstance(world.reconcile(claim), Again)
    world.fuse.disarm()
    assert [secret["metadata"]["namespace"] for secret in world.api.under("secrets")] == ["ns"]
    del world.api.objects["/apis/storage.k8s.io/v1/storageclasses/delete"]
    world.make_class("delete", parameters={"chapSecretNamespace": "vault"})
    world.refresh()
    assert world.reconcile(claim) == Done()
    assert [secret["metadata"]["namespace"] for secret in world.api.under("secrets")] == ["vault"]


def test_a_volume_in_the_trash_is_taken_out_for_its_claim(world: World) -> None:
    """A cluster that was restored twice: the sweep had not seen the claim in between."""
    claim, on = begin(world, "a")
    agent, volume_id = world.agents[on], f"pvc-{claim.uid}"
    agent.volumes[volume_id] = agent.volumes[volume_id].model_copy(update={"phase": fields.Phase.READY})
    agent.trash_volume(volume_id)
    world.start()
    assert isinstance(world.reconcile(claim), Again)
    assert world.reconcile(claim) == Done()
    assert agent.volumes[volume_id].trashed_at is None
    assert volume_id in agent.exports


def test_a_long_import_shows_its_progress(world: World) -> None:
    claim = world.make_claim("a", "delete", notes={"lundock.io/image": "demo"})
    volume_id = f"pvc-{claim.uid}"
    for agent in world.agents.values():
        agent.working.add(volume_id)
    world.refresh()
    assert world.reconcile(claim) == Again(0.1)
    world.refresh()
    agent = next(agent for agent in world.agents.values() if agent.volumes)
    for done in (30, 40, 80):
        update = {"bytes_done": done, "bytes_total": 100}
        agent.volumes[volume_id] = agent.volumes[volume_id].model_copy(update=update)
        world.reconcile(claim)
    said = [message.rpartition(": ")[2] for _, reason, message in world.recorder.said if reason == "Provisioning"]
    assert said == ["begun", "25%", "75%"]
    agent.volumes[volume_id] = agent.volumes[volume_id].model_copy(update={"phase": fields.Phase.READY})
    assert world.reconcile(claim) == Done()


def test_a_url_needs_the_class_and_the_configuration(world: World) -> None:
    world.make_class("urls", parameters={"imageUrls": "allow"})
    notes = {"lundock.io/image": f"https://images.example.com/x.qcow2.xz#{DIGEST}"}
    name = world.provision("a", "urls", notes=notes)
    agent = next(agent for agent in world.agents.values() if name in agent.volumes)
    (image,) = [spec for spec in agent.images.values() if spec is not None]
    assert image == requests.ImageSpec(
        urls=["https://images.example.com/x.qcow2.xz"], digest=DIGEST, format=fields.ImageFormat.QCOW2
    )


class TestClones:
    def test_a_clone_is_on_its_sources_target(self, world: World) -> None:
        golden = world.provision("golden")
        on = next(name for name, agent in world.agents.items() if golden in agent.volumes)
        world.agents["t0" if on == "t1" else "t1"].room_bytes = 2**50
        source = {"kind": "PersistentVolumeClaim", "name": "golden"}
        clone = world.provision("clone", dataSource=source)
        assert world.agents[on].volumes[clone].source == responses.VolumeSource(volume=golden)

    def test_it_waits_for_its_source(self, world: World) -> None:
        claim = world.make_claim("clone", "delete", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        world.refresh()
        assert isinstance(world.reconcile(claim), Again)
        assert world.recorder.said[-1][:2] == ("Normal", "Provisioning")
        world.provision("golden")
        assert world.reconcile(claim) == Done()

    @pytest.mark.parametrize("change", ["gone", "grown"])
    def test_a_copy_that_has_begun_goes_on_whatever_becomes_of_its_source(self, world: World, change: str) -> None:
        golden = world.provision("golden")
        claim = world.make_claim("clone", "delete", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        for agent in world.agents.values():
            agent.working.add(f"pvc-{claim.uid}")
        world.refresh()
        assert world.reconcile(claim) == Again(0.1)
        path = "/api/v1/namespaces/ns/persistentvolumeclaims/golden"
        if change == "gone":
            world.api._delete(path, None)
        else:
            world.api._patch(f"/api/v1/persistentvolumes/{golden}", {"spec": {"capacity": {"storage": "5Gi"}}})
        on = next(agent for agent in world.agents.values() if f"pvc-{claim.uid}" in agent.volumes)
        ready = {"phase": fields.Phase.READY}
        on.volumes[f"pvc-{claim.uid}"] = on.volumes[f"pvc-{claim.uid}"].model_copy(update=ready)
        world.start()
        assert world.reconcile(claim) == Done()
        assert world.pv(f"pvc-{claim.uid}")

    def test_it_may_be_of_another_class_and_larger(self, world: World) -> None:
        golden = world.provision("golden")
        world.make_class("other", "Retain", parameters={"fsType": "xfs"})
        source = {"kind": "PersistentVolumeClaim", "name": "golden"}
        clone = world.provision("clone", "other", size="5Gi", dataSource=source)
        on = next(agent for agent in world.agents.values() if clone in agent.volumes)
        assert on.volumes[clone].source == responses.VolumeSource(volume=golden)
        assert on.volumes[clone].size_bytes == 5 * 2**30

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("volumeMode", "Block", "another volumeMode"),
            ("provisioner", "somebody.else", "is not a volume of iscsi.lundock.io"),
            ("release", "ns/another", "is not a volume of iscsi.lundock.io"),
        ],
    )
    def test_what_cannot_be_cloned(self, world: World, field: str, value: str, says: str) -> None:
        golden = world.provision("golden")
        more: dict[str, Any] = {}
        if field == "volumeMode":
            more = {"volumeMode": value}
        else:
            key = {"provisioner": "pv.kubernetes.io/provisioned-by", "release": "lundock.io/release"}[field]
            pv = f"/api/v1/persistentvolumes/{golden}"
            world.api._patch(pv, {"metadata": {"annotations": {key: value}}})
        source = {"kind": "PersistentVolumeClaim", "name": "golden"}
        claim = world.make_claim("clone", "delete", dataSource=source, **more)
        world.refresh()
        assert world.reconcile(claim) == Done()
        assert world.recorder.said[-1][2].startswith("BadDataSource:")
        assert says in world.recorder.said[-1][2]

    def test_it_must_not_be_smaller(self, world: World) -> None:
        world.provision("golden", size="2Gi")
        claim = world.make_claim("clone", "delete", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        world.refresh()
        assert world.reconcile(claim) == Done()
        assert world.recorder.said[-1][2].startswith("CloneTooSmall:")

    def test_its_class_must_allow_the_target(self, world: World) -> None:
        golden = world.provision("golden")
        on = next(name for name, agent in world.agents.items() if golden in agent.volumes)
        world.make_class("elsewhere", parameters={"target": "t0" if on == "t1" else "t1"})
        claim = world.make_claim("clone", "elsewhere", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        world.refresh()
        assert world.reconcile(claim) == Done()
        assert world.recorder.said[-1][2].startswith("CloneElsewhere:")


def test_a_populators_claim_is_left_alone(world: World) -> None:
    source = {"kind": "Blob", "apiGroup": "example.com", "name": "x"}
    claim = world.make_claim("a", "delete", dataSourceRef=source)
    world.refresh()
    assert world.reconcile(claim) == Done()
    assert world.recorder.said[-1][:2] == ("Normal", "Provisioning")
    assert "Blob.example.com" in world.recorder.said[-1][2]
    assert not any(agent.volumes for agent in world.agents.values())


def test_wait_for_first_consumer(world: World) -> None:
    world.make_class("wait", volumeBindingMode="WaitForFirstConsumer")
    claim = world.make_claim("a", "wait")
    world.refresh()
    assert world.reconcile.plan_claim(claim) == Ignore("waits for its first consumer")
    path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
    world.api._patch(path, {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node"}}})
    world.refresh()
    assert world.reconcile(claim) == Done()
    assert world.pv(f"pvc-{claim.uid}")


def test_a_target_that_is_down_takes_only_its_own_claims(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> responses.Volume:
        raise Unreachable("refused")

    monkeypatch.setattr(world.agents["t0"], "ensure_volume", fails)
    world.make_class("on-t0", parameters={"target": "t0"})
    stuck = world.make_claim("stuck", "on-t0")
    world.refresh()
    assert isinstance(world.reconcile(stuck), Again)
    assert world.recorder.said[-1][2].startswith("TargetDown:")
    assert 'lundock_provisioner_target_up{target="t0"} 0.0' in world.metrics.render().decode()
    world.make_class("on-t1", parameters={"target": "t1"})
    world.provision("fine", "on-t1")
