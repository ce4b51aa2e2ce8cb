"""Whatever people do and wherever the process dies: one claim never has two volumes, none that is bound is
lost, nothing that is not ours is touched, and in the end everything converges and nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lundock_common import kubernetes_api
from provisioner.reconcile import Key, VolumeName
from target_image.api import requests
from target_image.api.client import OutcomeUnknown
from tests.provisioner.converged import check_converged
from tests.provisioner.twins import Killed
from tests.provisioner.world import World

NAMES = ("a", "b", "c")
BREAKS: dict[str, Callable[[], BaseException]] = {
    "killed": Killed,
    "API server's answer lost": lambda: kubernetes_api.OutcomeUnknown("no answer"),
    "target's answer lost": lambda: OutcomeUnknown("no answer"),
}
NOT_OURS = {"pvc-theirs", "by-hand"}
CLAIMS = "/api/v1/namespaces/ns/persistentvolumeclaims"


def deletion_may_have_begun(pv: dict[str, Any]) -> bool:
    released = (pv.get("status") or {}).get("phase") == "Released"
    return released and pv["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.known: set[Key] = set()
        """Keys that were ever in the queue: an informer may tell of something long gone."""
        self.retained: set[str] = set()
        """PVs that had the policy Retain when last looked at; nobody deletes PVs here."""
        self.world.make_class("delete")
        self.world.make_class("retain", "Retain")
        self.world.make_class("no-chap", parameters={"chap": "off", "target": "t1"})
        foreign = requests.Owner(cluster="another", release="ns/lundock", claim_uid="uid-1")
        self.world.agents["t0"]._ensure_volume("pvc-theirs", requests.VolumeSpec(size_bytes=1, owner=foreign))
        self.world.agents["t0"]._ensure_volume("by-hand", requests.VolumeSpec(size_bytes=1))
        self.world.refresh()

    @rule(name=st.sampled_from(NAMES), class_name=st.sampled_from(["delete", "retain", "no-chap"]))
    def make_claim(self, name: str, class_name: str) -> None:
        with suppress(kubernetes_api.AlreadyExists):
            self.world.make_claim(name, class_name)

    @rule(name=st.sampled_from(NAMES))
    def delete_claim(self, name: str) -> None:
        self.world.api._delete(f"{CLAIMS}/{name}", None)

    @rule(name=st.sampled_from(NAMES), asked=st.sampled_from(["1", "2"]))
    def ask_for_another_password(self, name: str, asked: str) -> None:
        if f"{CLAIMS}/{name}" in self.world.api.objects:
            self.world.api._patch(f"{CLAIMS}/{name}", {"metadata": {"annotations": {"lundock.io/rotate-chap": asked}}})

    @rule(name=st.sampled_from(NAMES))
    def grow_claim(self, name: str) -> None:
        claim = self.world.api.objects.get(f"{CLAIMS}/{name}")
        if claim and claim["spec"].get("volumeName"):
            self.world.api._patch(f"{CLAIMS}/{name}", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})

    @rule(data=st.data(), policy=st.sampled_from(["Delete", "Retain"]))
    def change_policy(self, data: st.DataObject, policy: str) -> None:
        """But none is kept whose deletion has begun: its data may be gone."""
        pvs = sorted(
            pv["metadata"]["name"]
            for pv in self.world.api.under("persistentvolumes")
            if policy == "Delete" or not deletion_may_have_begun(pv)
        )
        if pvs:
            path = f"/api/v1/persistentvolumes/{data.draw(st.sampled_from(pvs))}"
            self.world.api._patch(path, {"spec": {"persistentVolumeReclaimPolicy": policy}})

    @rule()
    def keep_what_was_released_before_the_watch_tells(self) -> None:
        self.work_on_everything()
        begun = {
            pv["metadata"]["name"] for pv in self.world.api.under("persistentvolumes") if deletion_may_have_begun(pv)
        }
        for name in NAMES:
            self.delete_claim(name)
        self.world.settle()
        self.world.refresh()
        for pv in self.world.api.under("persistentvolumes"):
            name = pv["metadata"]["name"]
            if name in begun:
                continue
            if pv["status"]["phase"] == "Released" and not pv["metadata"].get("deletionTimestamp"):
                retain = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
                self.world.api._patch(f"/api/v1/persistentvolumes/{name}", retain)
                self.world.reconcile(VolumeName(name))
                assert self.world.pv(name), "it was kept, though the copy that was acted on did not say so"
                notes = pv["metadata"]["annotations"]
                assert notes["lundock.io/volume"] in self.world.agents[notes["lundock.io/target"]].volumes

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def bind_a_retained_volume_again(self, data: st.DataObject, name: str) -> None:
        released = sorted(
            pv["metadata"]["name"]
            for pv in self.world.api.under("persistentvolumes")
            if (pv.get("status") or {}).get("phase") == "Released"
            and pv["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        )
        if not released or f"{CLAIMS}/{name}" in self.world.api.objects:
            return
        pv = data.draw(st.sampled_from(released))
        claim = self.world.make_claim(name, "retain", volumeName=pv)
        reference = {"namespace": "ns", "name": name, "uid": claim.uid}
        self.world.api._patch(f"/api/v1/persistentvolumes/{pv}", {"spec": {"claimRef": reference}})
        self.world.settle()  # or a second claim could be given the same volume, which is no mistake of ours

    @rule()
    def controller_manager(self) -> None:
        self.world.settle()

    @rule(which=st.sampled_from(["claims", "pvs", "classes"]))
    def watch_events_arrive(self, which: str) -> None:
        getattr(self.world, which).refresh()

    @rule(data=st.data(), lagging=st.sampled_from([False, False, True]))
    def work(self, data: st.DataObject, lagging: bool) -> None:
        if not lagging:
            self.world.refresh()
        self.known |= set(self.world.keys())
        if self.known:
            self.world.reconcile(data.draw(st.sampled_from(sorted(self.known, key=str))))

    @rule(calls=st.integers(0, 20), how=st.sampled_from(sorted(BREAKS)), after=st.booleans(), settle=st.booleans())
    def work_on_everything_and_break(self, calls: int, how: str, after: bool, settle: bool) -> None:
        if settle:
            self.world.settle()
        self.world.refresh()
        self.known |= set(self.world.keys())
        self.world.fuse.arm(calls, BREAKS[how], after_effect=after)
        try:
            for key in sorted(self.known, key=str):
                with suppress(OutcomeUnknown, kubernetes_api.OutcomeUnknown):  # raised by the twin it cannot come from
                    self.world.reconcile(key)
        except Killed:
            self.world.start()
        finally:
            self.world.fuse.disarm()

    @rule()
    def work_on_everything(self) -> None:
        self.world.settle()
        self.world.refresh()
        self.known |= set(self.world.keys())
        for key in sorted(self.known, key=str):
            self.world.reconcile(key)

    @rule()
    def restart(self) -> None:
        self.world.start()

    @rule()
    def sweep(self) -> None:
        self.world.sweeper.sweep()

    @invariant()
    def no_claim_has_two_volumes(self) -> None:
        on = [set(agent.volumes) for agent in self.world.agents.values()]
        assert not on[0] & on[1]

    @invariant()
    def nothing_bound_or_retained_is_lost(self) -> None:
        for pv in self.world.api.under("persistentvolumes"):
            notes, phase = pv["metadata"]["annotations"], (pv.get("status") or {}).get("phase")
            kept = phase == "Bound" or pv["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
            if not kept or pv["metadata"].get("deletionTimestamp") or phase == "Released":
                continue
            volume = self.world.agents[notes["lundock.io/target"]].volumes.get(notes["lundock.io/volume"])
            assert volume is not None, pv
            assert volume.trashed_at is None
            assert notes["lundock.io/volume"] in self.world.agents[notes["lundock.io/target"]].exports

    @invariant()
    def nothing_retained_goes(self) -> None:
        pvs = self.world.api.under("persistentvolumes")
        assert self.retained <= {pv["metadata"]["name"] for pv in pvs}
        retain = [pv for pv in pvs if pv["spec"]["persistentVolumeReclaimPolicy"] == "Retain"]
        self.retained = {pv["metadata"]["name"] for pv in retain}
        for pv in retain:
            notes = pv["metadata"]["annotations"]
            assert notes["lundock.io/volume"] in self.world.agents[notes["lundock.io/target"]].volumes

    @invariant()
    def what_is_not_ours_stays(self) -> None:
        assert set(self.world.agents["t0"].volumes) >= NOT_OURS

    def teardown(self) -> None:
        self.world.converge()
        check_converged(self.world, NOT_OURS)


Cluster.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCluster = Cluster.TestCase
