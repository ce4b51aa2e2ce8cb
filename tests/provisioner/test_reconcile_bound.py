"""What the reconciler does with a volume whose claim was bound, against the twins."""

from __future__ import annotations

from typing import ClassVar

import pytest

from lundock_common.kubernetes_api import Refused
from provisioner.outcomes import Again, Done
from provisioner.planning.claims import name_of
from provisioner.reconcile import VolumeName
from target_image.api import responses
from tests.provisioner.agent_twin import problem
from tests.provisioner.world import World


class TestDeletion:
    def test_live_sessions_hold_it(self, world: World) -> None:
        name = world.provision("a")
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
        name = world.provision("a")
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
        name = world.provision("a")
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
        name, other = world.provision("a"), world.provision("b")
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
        name = world.provision("a", "retain")
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
        name = world.provision("a")
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
    def test_what_the_target_waits_for_is_no_failure(
        self, world: World, monkeypatch: pytest.MonkeyPatch, code: str
    ) -> None:
        """Another claim's volume is not asked for its sessions first: there the target itself says no."""
        name = world.provision("a")

        def refuses(*_: object) -> responses.Export:
            raise problem(code, 409, retryable=True)

        for agent in world.agents.values():
            monkeypatch.setattr(agent, "change_export", refuses)
        path = "/api/v1/namespaces/ns/persistentvolumeclaims/a"
        world.api._patch(path, {"metadata": {"annotations": {"lundock.io/rotate-chap": "now"}}})
        world.refresh()
        assert isinstance(world.reconcile(VolumeName(name)), Again)
        kind, reason, message = world.recorder.said[-1]
        assert (kind, reason) == ("Normal", "CHAPRotation")
        assert message.startswith("CHAPRotationWaiting:")

    def test_a_secret_that_cannot_be_written_is_told_to_the_claims_owner(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = world.provision("a")
        world.reconcile.keeper.recheck(name)

        def refuses(*_: object) -> dict[str, object]:
            raise Refused(403, "Forbidden", "secrets is forbidden")

        monkeypatch.setattr(world.api, "replace", refuses)
        assert world.reconcile(VolumeName(name)) == Again(None)
        assert world.recorder.said[-1][:2] == ("Warning", "CHAPSecretFailed")
        assert world.recorder.about[-1].kind == "PersistentVolumeClaim"

    def test_a_missing_secret_comes_back_the_same(self, world: World) -> None:
        name = world.provision("a")
        path = f"/api/v1/namespaces/ns/secrets/{name}-chap"
        before = world.api.objects.pop(path)["data"]
        assert world.reconcile(VolumeName(name)) == Done()
        assert path not in world.api.objects, "it is written when it is due, not at each event"
        world.reconcile.keeper.recheck(name)
        assert world.reconcile(VolumeName(name)) == Done()
        assert world.api.objects[path]["data"] == before


class TestAnExportThatIsMissing:
    """As after the sweep, when a PV was away for long and came back from a backup."""

    PARAMETERS: ClassVar = {"initiators": "iqn.2026-11.test:node", "target": "t0"}

    def bound(self, world: World, **parameters: str) -> str:
        world.make_class("nodes", parameters=self.PARAMETERS | parameters)
        name = world.provision("a", "nodes")
        self.before = world.agents["t0"].exports[name][1]
        world.agents["t0"].delete_export(name)
        world.reconcile.keeper.recheck(name)
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
    name = world.provision("a")
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
