"""The provisioner's own troubles: killed at any moment, two of them, an API server or a target that is away."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from lundock_common import kubernetes_api
from tests.provisioner.stage import Process, Stage, TargetProcess, target_running
from tests.waiting import eventually

pytestmark = pytest.mark.cluster


def volumes_of(stage: Stage, target: TargetProcess) -> dict[str, str]:
    """Volume ids and the claims they were made for, of this stage."""
    release = stage.config["release"]
    return {v.id: v.owner.claim for v in target.client.list_volumes() if v.owner and v.owner.release == release}


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments_everything_converges_and_nothing_leaks(
    own_stage: Stage, target: TargetProcess, seed: int
) -> None:
    """Claims come and go while the provisioner is killed again and again, in the middle of its work."""
    stage, chance = own_stage, random.Random(seed)  # noqa: S311 (a reproducible choice, no secret)
    stage.config["sweep"] = {"mode": "remove", "intervalSeconds": 1, "graceSeconds": 2, "maxFraction": 1}
    stage.config["leaderElection"] = {"enabled": False}
    stage.process = stage.provisioner()
    number = 0
    for _ in range(3):
        stage.process.start()
        eventually(stage.working, "the provisioner to work")
        for _ in range(6):
            stage.claim(f"c{number}")
            number += 1
        victims = chance.sample(range(number), 2)
        for victim in victims:
            stage.delete_claim(f"c{victim}")
        time.sleep(chance.uniform(0, 0.25))  # the moment of the kill is what is random here
        stage.process.kill()
    stage.process.start()

    def converged() -> bool:
        left = {claim["metadata"]["name"] for claim in stage.claims()}
        bound = {claim["metadata"]["name"] for claim in stage.claims() if claim["status"]["phase"] == "Bound"}
        pvs = {pv["spec"]["claimRef"]["name"]: pv["metadata"]["name"] for pv in stage.pvs()}
        volumes = volumes_of(stage, target)
        secrets = [
            item
            for item in stage.kube.list(kubernetes_api.secrets_path(stage.namespace))[0]
            if item["type"] == "kubernetes.io/iscsi-chap"
        ]
        return left == bound == set(pvs) and set(pvs.values()) == set(volumes) and len(secrets) == len(left)

    eventually(converged, f"claims, PVs, volumes and secrets to agree; volumes {volumes_of(stage, target)}", 90)
    names = list(volumes_of(stage, target).values())
    assert len(names) == len(set(names))


def lease(stage: Stage) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/lundock-{stage.id}"
    return str(stage.kube.get(path)["spec"].get("holderIdentity") or "")


def standby(stage: Stage) -> Process:
    return stage.provisioner("standby", http={"healthPort": 0, "metricsPort": 0})


def test_a_clean_stop_lets_go_of_the_lease(own_stage: Stage) -> None:
    own_stage.config["leaderElection"]["leaseDurationSeconds"] = 600
    own_stage.process = own_stage.provisioner()
    own_stage.up()
    holder = lease(own_stage)
    other = standby(own_stage)
    other.start()
    try:
        eventually(lambda: "leading" not in other.tail() and other.running, "the standby to wait")
        assert own_stage.process.stop() == 0
        eventually(lambda: lease(own_stage) not in ("", holder), "the standby to take over at once", 30)
        own_stage.claim("after")
        own_stage.bound("after")
    finally:
        other.end()


def test_a_lost_lease_ends_the_process_at_once(own_stage: Stage) -> None:
    own_stage.up()
    path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/lundock-{own_stage.id}"
    own_stage.kube.patch(path, {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 600}})
    running = own_stage.process.running
    assert running is not None
    assert running.wait(20) == 3
    assert "the lease is lost" in own_stage.process.tail()


def test_a_killed_leader_is_followed_when_its_lease_has_run_out(own_stage: Stage) -> None:
    own_stage.up()
    other = standby(own_stage)
    other.start()
    try:
        own_stage.process.kill()
        own_stage.claim("orphaned")
        own_stage.bound("orphaned")
    finally:
        other.end()


def test_a_frozen_leader_does_not_act_when_it_wakes_up(own_stage: Stage) -> None:
    own_stage.up()
    other = standby(own_stage)
    other.start()
    try:
        holder = lease(own_stage)
        running = own_stage.process.running
        assert running is not None
        running.send_signal(signal.SIGSTOP)
        eventually(lambda: lease(own_stage) != holder, "the standby to take over")
        running.send_signal(signal.SIGCONT)
        assert running.wait(20) == 3
    finally:
        other.end()


def test_the_api_server_is_away_and_comes_back(tmp_path: Path, target: TargetProcess) -> None:
    with ControlPlane.alone() as plane:
        stage = Stage(plane.kubeconfig, tmp_path, [target])
        stage.config["leaderElection"] = {"enabled": False}
        stage.process = stage.provisioner()
        try:
            stage.up()
            stage.claim("before")
            stage.bound("before")
            plane.processes.stop("kube-apiserver")
            time.sleep(2)  # long enough for every watch to have failed and begun its back-off
            plane.start()
            eventually(lambda: stage.get_claim("before"), "the API server to be back")
            stage.claim("after")
            stage.bound("after")
        finally:
            stage.down()


def test_a_target_that_is_down_takes_only_its_own_claims(
    control_plane: ControlPlane, target: TargetProcess, tmp_path: Path
) -> None:
    with target_running(tmp_path, "target-1") as other:
        stage = Stage(control_plane.kubeconfig, tmp_path, [target, other])
        try:
            stage.config["targetCalls"] = {"timeoutSeconds": 2, "pollSeconds": 0.1}
            stage.process = stage.provisioner()
            stage.up()
            up = stage.make_class(f"{stage.id}-up", {"target": target.name})
            down = stage.make_class(f"{stage.id}-down", {"target": other.name})
            stage.claim("one", storageClassName=down)
            pv = stage.bound("one")
            assert pv["metadata"]["annotations"]["lundock.io/target"] == other.name
            other.kill()
            stage.claim("waits", storageClassName=down)
            stage.delete_claim("one")
            for number in range(5):
                stage.claim(f"fine-{number}", storageClassName=up)
            for number in range(5):
                stage.bound(f"fine-{number}")
            stage.wait_event("waits", f"TargetDown: target {other.name} does not answer")
            stage.claim("anywhere")
            assert stage.bound("anywhere")["metadata"]["annotations"]["lundock.io/target"] == target.name
            other.up()
            stage.bound("waits")
            name = pv["metadata"]["name"]
            eventually(lambda: name not in {item["metadata"]["name"] for item in stage.pvs()}, "the PV to go")
            assert other.client.get_volume(name) is None
        finally:
            stage.down()


def test_only_one_call_for_each_thing(own_stage: Stage) -> None:
    """One claim alone costs three writes: its Secret, its PV and its event."""
    own_stage.config["kubernetes"] = {"requestsPerSecond": 100}
    own_stage.config["queue"]["resyncSeconds"] = 600
    own_stage.process = own_stage.provisioner()
    own_stage.up()
    own_stage.claim("one")
    own_stage.bound("one")
    own_stage.wait_event("one", "ProvisioningSucceeded")
    text = own_stage.metrics()
    calls = {
        f"{m[1]} {m[2]}": float(m[3])
        for m in re.finditer(r'lundock_provisioner_api_calls_total{method="(\w+)",resource="(\w+)"} ([0-9.]+)', text)
        if m[1] != "GET"
    }
    assert calls == {"POST secrets": 1, "POST persistentvolumes": 1, "POST events": 1}
