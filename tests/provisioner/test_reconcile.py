"""The reconciler's decisions that a claim's owner notices, against the twins."""

from __future__ import annotations

from typing import ClassVar

import pytest

from provisioner.claims import TARGET, ClaimName, name_of
from provisioner.errors import OutcomeUnknown, Refused
from provisioner.plan import Ignore
from provisioner.reconcile import Again, Done, VolumeName
from target_image.agent import wire
from target_image.client import Unreachable
from tests.provisioner.agent_twin import problem
from tests.provisioner.world import World

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def world() -> World:
    world = World(targets=2)
    world.make_class("delete", allowVolumeExpansion=True)
    return world


def provision(world: World, name: str, class_name: str = "delete", **claim: object) -> str:
    """Makes the claim and its volume; returns the PV's name."""
    made = world.make_claim(name, class_name, **claim)  # type: ignore[arg-type]
    world.refresh()
    assert world.reconcile(made) == Done(), world.recorder.said
    world.settle()
    world.refresh()
    return f"pvc-{made.uid}"


def test_the_target_is_noted_before_anything_is_made_there(world: World) -> None:
    name = provision(world, "a")
    calls = [call for call in world.api.calls if call[0] == "PATCH"]
    assert calls == [("PATCH", "/api/v1/namespaces/ns/persistentvolumeclaims/a")]
    noted = world.api.objects["/api/v1/namespaces/ns/persistentvolumeclaims/a"]["metadata"]["annotations"][TARGET]
    assert name in world.agents[noted].volumes


def test_with_one_target_nothing_needs_noting() -> None:
    world = World(targets=1)
    world.make_class("delete")
    provision(world, "a")
    made = [path.rpartition("/")[0].rpartition("/")[2] for method, path in world.api.calls if method == "POST"]
    assert made == ["storageclasses", "persistentvolumeclaims", "secrets", "persistentvolumes"]
    assert len(world.api.calls) == len(made)


def test_the_roomiest_target_is_chosen_among_those_of_the_class(world: World) -> None:
    world.agents["t0"].room_bytes = 2**42
    assert provision(world, "a") in world.agents["t0"].volumes
    world.make_class("on-t1", parameters={"target": "disk=t1"})
    assert provision(world, "b", "on-t1") in world.agents["t1"].volumes


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
    ready = {"phase": wire.Phase.READY}
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
    assert not world.provisioning._begun


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
    assert volume.source == wire.EmptySource()


def begin(world: World, name: str, class_name: str = "delete", **claim: object) -> tuple[ClaimName, str]:
    """A claim whose volume is being filled, and the target that it is on."""
    made = world.make_claim(name, class_name, notes={"lundock.io/image": "demo"}, **claim)  # type: ignore[arg-type]
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
    agent.volumes[volume_id] = agent.volumes[volume_id].model_copy(update={"phase": wire.Phase.READY})
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
    agent.volumes[volume_id] = agent.volumes[volume_id].model_copy(update={"phase": wire.Phase.READY})
    assert world.reconcile(claim) == Done()


def test_a_url_needs_the_class_and_the_configuration(world: World) -> None:
    world.make_class("urls", parameters={"imageUrls": "allow"})
    notes = {"lundock.io/image": f"https://images.example.com/x.qcow2.xz#{DIGEST}"}
    name = provision(world, "a", "urls", notes=notes)
    agent = next(agent for agent in world.agents.values() if name in agent.volumes)
    (image,) = [spec for spec in agent.images.values() if spec is not None]
    assert image == wire.ImageSpec(
        urls=["https://images.example.com/x.qcow2.xz"], digest=DIGEST, format=wire.ImageFormat.QCOW2
    )


class TestClones:
    def test_a_clone_is_on_its_sources_target(self, world: World) -> None:
        golden = provision(world, "golden")
        on = next(name for name, agent in world.agents.items() if golden in agent.volumes)
        world.agents["t0" if on == "t1" else "t1"].room_bytes = 2**50
        source = {"kind": "PersistentVolumeClaim", "name": "golden"}
        clone = provision(world, "clone", dataSource=source)
        assert world.agents[on].volumes[clone].source == wire.VolumeSource(volume=golden)

    def test_it_waits_for_its_source(self, world: World) -> None:
        claim = world.make_claim("clone", "delete", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        world.refresh()
        assert isinstance(world.reconcile(claim), Again)
        assert world.recorder.said[-1][:2] == ("Normal", "Provisioning")
        provision(world, "golden")
        assert world.reconcile(claim) == Done()

    @pytest.mark.parametrize("change", ["gone", "grown"])
    def test_a_copy_that_has_begun_goes_on_whatever_becomes_of_its_source(self, world: World, change: str) -> None:
        golden = provision(world, "golden")
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
        ready = {"phase": wire.Phase.READY}
        on.volumes[f"pvc-{claim.uid}"] = on.volumes[f"pvc-{claim.uid}"].model_copy(update=ready)
        world.start()
        assert world.reconcile(claim) == Done()
        assert world.pv(f"pvc-{claim.uid}")

    def test_it_may_be_of_another_class_and_larger(self, world: World) -> None:
        golden = provision(world, "golden")
        world.make_class("other", "Retain", parameters={"fsType": "xfs"})
        source = {"kind": "PersistentVolumeClaim", "name": "golden"}
        clone = provision(world, "clone", "other", size="5Gi", dataSource=source)
        on = next(agent for agent in world.agents.values() if clone in agent.volumes)
        assert on.volumes[clone].source == wire.VolumeSource(volume=golden)
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
        golden, more = provision(world, "golden"), {}
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
        provision(world, "golden", size="2Gi")
        claim = world.make_claim("clone", "delete", dataSource={"kind": "PersistentVolumeClaim", "name": "golden"})
        world.refresh()
        assert world.reconcile(claim) == Done()
        assert world.recorder.said[-1][2].startswith("CloneTooSmall:")

    def test_its_class_must_allow_the_target(self, world: World) -> None:
        golden = provision(world, "golden")
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


class TestDeletion:
    def test_live_sessions_hold_it(self, world: World) -> None:
        name = provision(world, "a")
        agent = next(agent for agent in world.agents.values() if name in agent.volumes)
        agent.set_sessions(name, 1)
        world.api._delete("/api/v1/namespaces/ns/persistentvolumeclaims/a", None)
        world.settle()
        world.refresh()
        assert isinstance(world.reconcile(VolumeName(name)), Again)
        assert world.recorder.said[-1][1] == "VolumeFailedDelete"
        assert name in agent.volumes
        agent.set_sessions(name, 0)
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.pv(name) is None
        assert not agent.volumes

    @pytest.mark.parametrize("change", ["kept", "bound again", "gone"])
    def test_data_is_never_deleted_on_the_word_of_an_old_copy(self, world: World, change: str) -> None:
        """A watch may be silent for a minute and a half before it is given up."""
        name = provision(world, "a")
        path = f"/api/v1/persistentvolumes/{name}"
        world.api._delete("/api/v1/namespaces/ns/persistentvolumeclaims/a", None)
        world.settle()
        world.refresh()
        if change == "kept":
            world.api._patch(path, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
        elif change == "bound again":
            claim = world.make_claim("heir", "delete", volumeName=name)
            reference = {"namespace": "ns", "name": "heir", "uid": claim.uid}
            world.api._patch(path, {"spec": {"claimRef": reference}, "status": {"phase": "Bound"}})
        else:
            del world.api.objects[path]
        assert world.reconcile(VolumeName(name)) == Again(5.0)
        assert any(name in agent.volumes and name in agent.exports for agent in world.agents.values())

    @pytest.mark.parametrize("reference", [None, {"namespace": "ns", "name": "heir"}])
    def test_a_pv_that_was_made_free_and_is_deleted_takes_its_volume_along(
        self, world: World, reference: dict[str, str] | None
    ) -> None:
        """Free again for anybody, or for a claim that never came: kube-controller-manager calls both Available."""
        name = provision(world, "a")
        path = f"/api/v1/persistentvolumes/{name}"
        world.api._delete("/api/v1/namespaces/ns/persistentvolumeclaims/a", None)
        world.api._patch(path, {"spec": {"claimRef": None}})
        world.api._patch(path, {"spec": {"claimRef": reference}, "status": {"phase": "Available"}})
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Done()
        assert any(name in agent.volumes for agent in world.agents.values()), "as long as nobody deletes it"
        world.api._delete(path, None)
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.pv(name) is None
        assert not any(agent.volumes for agent in world.agents.values())

    def test_annotation_and_iqn_must_agree(self, world: World) -> None:
        name, other = provision(world, "a"), provision(world, "b")
        world.api._patch(
            f"/api/v1/persistentvolumes/{name}", {"metadata": {"annotations": {"lundock.io/volume": other}}}
        )
        world.api._delete("/api/v1/namespaces/ns/persistentvolumeclaims/a", None)
        world.settle()
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.recorder.said[-1][2].startswith("VolumeMismatch:")
        assert sum(len(agent.volumes) for agent in world.agents.values()) == 2

    def test_a_restored_claim_of_another_uid_still_finds_its_volume(self, world: World) -> None:
        world.make_class("retain", "Retain")
        name = provision(world, "a", "retain")
        path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
        world.api._delete(path, None)
        world.settle()
        claim = world.make_claim("a", "retain", volumeName=name)
        reference = {"namespace": "ns", "name": "a", "uid": claim.uid}
        pv = f"/api/v1/persistentvolumes/{name}"
        world.api._patch(pv, {"spec": {"claimRef": reference, "persistentVolumeReclaimPolicy": "Delete"}})
        world.converge()
        before = world.api.objects[pv]["metadata"]["annotations"]["lundock.io/chap-generation"]
        assert before == claim.uid
        world.api._delete(path, None)
        world.converge()
        assert pv not in world.api.objects
        assert not any(agent.volumes for agent in world.agents.values())


class TestRotation:
    def test_it_waits_for_the_last_session(self, world: World) -> None:
        name = provision(world, "a")
        agent = next(agent for agent in world.agents.values() if name in agent.volumes)
        old = agent.exports[name][1].chap
        agent.set_sessions(name, 1)
        path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
        world.api._patch(path, {"metadata": {"annotations": {"lundock.io/rotate-chap": "now"}}})
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Again(15.0)
        assert world.recorder.said[-1][:2] == ("Normal", "CHAPRotation")
        assert (world.recorder.about[-1].kind, world.recorder.about[-1].name) == ("PersistentVolumeClaim", "a")
        assert agent.exports[name][1].chap == old
        agent.set_sessions(name, 0)
        assert world.reconcile(VolumeName(name)) == Done()
        assert agent.exports[name][1].chap != old

    @pytest.mark.parametrize("code", ["in-use", "start-grace"])
    def test_what_the_target_waits_for_is_no_failure(self, world: World, code: str) -> None:
        """Another claim's volume is not asked for its sessions first: there the target itself says no."""
        name = provision(world, "a")

        def refuses(*_: object) -> wire.Export:
            raise problem(code, 409, retryable=True)

        for agent in world.agents.values():
            agent.change_export = refuses  # type: ignore[method-assign]
        path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
        world.api._patch(path, {"metadata": {"annotations": {"lundock.io/rotate-chap": "now"}}})
        world.refresh()
        assert isinstance(world.reconcile(VolumeName(name)), Again)
        kind, reason, message = world.recorder.said[-1]
        assert (kind, reason) == ("Normal", "CHAPRotation")
        assert message.startswith("CHAPRotationWaiting:")

    def test_a_secret_that_cannot_be_written_is_told_to_the_claims_owner(self, world: World) -> None:
        name = provision(world, "a")
        world.keeper.recheck(name)

        def refuses(*_: object) -> dict[str, object]:
            raise Refused(403, "Forbidden", "secrets is forbidden")

        world.api.replace = refuses  # type: ignore[method-assign]
        assert world.reconcile(VolumeName(name)) == Again(None)
        assert world.recorder.said[-1][:2] == ("Warning", "CHAPSecretFailed")
        assert world.recorder.about[-1].kind == "PersistentVolumeClaim"

    def test_a_missing_secret_comes_back_the_same(self, world: World) -> None:
        name = provision(world, "a")
        path = f"/api/v1/namespaces/ns/secrets/{name}-chap"
        before = world.api.objects.pop(path)["data"]
        assert world.reconcile(VolumeName(name)) == Done()
        assert path not in world.api.objects, "it is written when it is due, not at each event"
        world.keeper.recheck(name)
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.api.objects[path]["data"] == before


class TestAnExportThatIsMissing:
    """As after the sweep, when a PV was away for long and came back from a backup."""

    PARAMETERS: ClassVar = {"initiators": "iqn.2026-11.test:node", "target": "t0"}

    def bound(self, world: World, **parameters: str) -> str:
        world.make_class("nodes", parameters=self.PARAMETERS | parameters)
        name = provision(world, "a", "nodes")
        self.before = world.agents["t0"].exports[name][1]
        world.agents["t0"].delete_export(name)
        world.keeper.recheck(name)
        return name

    @pytest.mark.parametrize("chap", ["on", "mutual", "off"])
    @pytest.mark.parametrize("trashed", [True, False])
    def test_it_comes_back_as_it_was(self, world: World, chap: str, trashed: bool) -> None:
        name = self.bound(world, chap=chap)
        if trashed:
            world.agents["t0"].trash_volume(name)
        assert world.reconcile(VolumeName(name)) == Done(), world.recorder.said
        assert world.agents["t0"].exports[name][1] == self.before
        assert world.agents["t0"].volumes[name].trashed_at is None
        assert world.recorder.said[-1][:2] == ("Normal", "ExportRestored")

    def test_without_its_class_nobody_knows_who_may_log_in(self, world: World) -> None:
        name = self.bound(world)
        del world.api.objects["/apis/storage.k8s.io/v1/storageclasses/nodes"]
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.recorder.said[-1][:2] == ("Warning", "ExportMissing")
        assert not world.agents["t0"].exports
        world.make_class("nodes", parameters=self.PARAMETERS)
        world.refresh()
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.agents["t0"].exports[name][1] == self.before

    def test_a_volume_that_is_missing_is_told_and_not_made_anew(self, world: World) -> None:
        name = self.bound(world)
        world.agents["t0"].volumes.clear()
        assert world.reconcile(VolumeName(name)) == Again(300.0)
        assert world.recorder.said[-1][:2] == ("Warning", "VolumeMissing")
        assert world.recorder.about[-1].kind == "PersistentVolumeClaim"
        assert not world.agents["t0"].volumes


def test_growth_is_lun_then_pv_then_claim(world: World) -> None:
    name = provision(world, "a")
    path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
    claim = world.api._patch(path, {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    world.refresh()
    world.api.calls.clear()
    assert world.reconcile(name_of(claim)) == Done()
    volume = next(agent.volumes[name] for agent in world.agents.values() if name in agent.volumes)
    assert volume.size_bytes == 3 * 2**30
    assert world.api.calls == [
        ("PATCH", f"/api/v1/persistentvolumes/{name}"),
        ("PATCH", f"{path}/status"),
    ]
    assert world.recorder.said[-1][1] == "VolumeResizeSuccessful"


def test_a_target_that_is_down_takes_only_its_own_claims(world: World) -> None:
    def fails(*_: object) -> wire.Volume:
        raise Unreachable("refused")

    world.agents["t0"].ensure_volume = fails  # type: ignore[method-assign]
    world.make_class("on-t0", parameters={"target": "t0"})
    stuck = world.make_claim("stuck", "on-t0")
    world.refresh()
    assert isinstance(world.reconcile(stuck), Again)
    assert world.recorder.said[-1][2].startswith("TargetDown:")
    assert 'lundock_provisioner_target_up{target="t0"} 0.0' in world.metrics.render().decode()
    world.make_class("on-t1", parameters={"target": "t1"})
    provision(world, "fine", "on-t1")
