"""Claims whose LUNs somebody is logged in to: real initiators, a real target, a real API server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.components.control_plane import ControlPlane
from lundock_common import kubernetes_api
from target_image.api import responses
from tests.capabilities import need
from tests.file_systems import XFS, mounted
from tests.provisioner.stage import Stage, TargetProcess, target_running
from tests.target_image.initiator import Login, Session, can_log_in, size_bytes
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

MIB = 2**20


@pytest.fixture(autouse=True)
def _initiators() -> None:
    need("iscsi-ls")
    need("qemu-iscsi")


def login(stage: Stage, pv: dict[str, Any]) -> Login:
    """With what the Secret says at this moment."""
    secret = stage.secret(pv)
    assert secret is not None
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    user, password = data["node.session.auth.username"], data["node.session.auth.password"]
    return Login(pv["spec"]["iscsi"]["targetPortal"], pv["spec"]["iscsi"]["iqn"], user, password)


@contextmanager
def logged_in(stage: Stage, pv: dict[str, Any]) -> Iterator[Session]:
    with Session(login(stage, pv)) as session:
        yield session


def test_only_its_own_secret_opens_a_volume(stage: Stage) -> None:
    stage.claim("mine")
    stage.claim("theirs")
    mine, theirs = (login(stage, stage.bound(name)) for name in ("mine", "theirs"))
    assert can_log_in(mine)
    assert not can_log_in(Login(mine.portal, mine.iqn))
    assert not can_log_in(Login(mine.portal, mine.iqn, theirs.user, theirs.password))


def test_a_rotation_waits_for_the_last_session_and_says_so(stage: Stage) -> None:
    stage.claim("turned")
    pv = stage.bound("turned")
    before = login(stage, pv)
    with Session(before):
        stage.patch_claim("turned", {"metadata": {"annotations": {"lundock.io/rotate-chap": "1"}}})
        line = stage.wait_event("turned", "CHAPRotationWaiting")
        assert line.startswith(
            "CHAPRotation: CHAPRotationWaiting: the password is replaced when the last of 1 sessions"
        )
        assert login(stage, pv) == before
        assert can_log_in(before), "the VM's next login, after a break of its connection"
    stage.wait_event("turned", "CHAPRotated")
    after = login(stage, pv)
    assert after.password != before.password
    assert can_log_in(after)
    assert not can_log_in(before)


def test_a_volume_in_use_outlives_its_claim(stage: Stage, target: TargetProcess) -> None:
    stage.claim("used")
    pv = stage.bound("used")
    name = pv["metadata"]["name"]
    with logged_in(stage, pv) as session:
        session.write(0, 512, 0x4C)
        stage.delete_claim("used")
        line = stage.wait_event(name, "VolumeFailedDelete: InUse", namespace="default")
        assert "iqn.2026-11.test:initiator" in line
        session.read(0, 512, 0x4C)
        assert target.client.get_volume(name)
    eventually(lambda: name not in {item["metadata"]["name"] for item in stage.pvs()}, "the PV to go")
    assert target.client.get_volume(name) is None


def test_a_clone_waits_until_its_source_is_idle_and_has_its_data(stage: Stage, target: TargetProcess) -> None:
    stage.claim("golden-disk")
    golden = stage.bound("golden-disk")
    other = stage.make_class(f"{stage.id}-other", {"fsType": "xfs"})
    with logged_in(stage, golden) as session:
        session.write(MIB, 4096, 0x5A)
        source = {"kind": "PersistentVolumeClaim", "name": "golden-disk"}
        stage.claim("larger", "16Mi", dataSource=source, storageClassName=other)
        stage.wait_event("larger", "ProvisioningFailed: InUse")
    copy = stage.bound("larger")
    volume = target.client.get_volume(copy["metadata"]["name"])
    assert volume is not None
    assert volume.source == responses.VolumeSource(volume=golden["metadata"]["name"])
    assert size_bytes(login(stage, copy)) == 16 * MIB
    with logged_in(stage, copy) as session:
        session.read(MIB, 4096, 0x5A)
        session.read(12 * MIB, 4096, 0)


def test_a_disk_in_use_is_cloned_where_its_class_and_file_system_allow_it(
    control_plane: ControlPlane, target: TargetProcess, tmp_path: Path
) -> None:
    """By reflink, which takes one instant; a copy by reading would mix the bytes of several (decision 0103)."""
    with mounted(tmp_path, XFS, 320) as folder, target_running(folder, "on-xfs") as on_xfs:
        stage = Stage(control_plane.kubeconfig, tmp_path, [on_xfs, target])
        stage.up()
        try:
            for name, place in (("reflink", on_xfs), ("sparse", target)):
                own = stage.make_class(f"{stage.id}-{name}", {"cloneInUse": "true", "target": place.name})
                stage.claim(name, storageClassName=own)
                with logged_in(stage, stage.bound(name)) as session:
                    session.write(MIB, 4096, 0x5A)
                    source = {"kind": "PersistentVolumeClaim", "name": name}
                    stage.claim(f"{name}-copy", dataSource=source, storageClassName=own)
                    if place is target:
                        stage.wait_event(f"{name}-copy", "cannot copy it at one instant")
                    else:
                        copy = stage.bound(f"{name}-copy")
                        session.write(MIB, 4096, 0x77)
                        with logged_in(stage, copy) as other:
                            other.read(MIB, 4096, 0x5A)
            stage.bound("sparse-copy")
        finally:
            stage.down()


def test_a_lun_in_use_grows_when_it_is_idle(stage: Stage) -> None:
    """tgt cannot tell an initiator that a disk grew."""
    stage.claim("tight")
    pv = stage.bound("tight")
    with logged_in(stage, pv) as session:
        session.write(0, 4096, 0x11)
        stage.patch_claim("tight", {"spec": {"resources": {"requests": {"storage": "24Mi"}}}})
        stage.wait_event("tight", "VolumeResizeFailed: GrowInUse")
        assert (
            stage.kube.get(kubernetes_api.volume_path(pv["metadata"]["name"]))["spec"]["capacity"]["storage"] == "8Mi"
        )
    stage.wait_event("tight", "VolumeResizeSuccessful")
    assert size_bytes(login(stage, pv)) == 24 * MIB
    with logged_in(stage, pv) as session:
        session.read(0, 4096, 0x11)


def test_parameters_reach_target_and_secret(stage: Stage, target: TargetProcess) -> None:
    parameters = {"thin": "false", "chap": "mutual", "chapSecretNamespace": "default", "target": target.name}
    stage.claim("all", storageClassName=stage.make_class(f"{stage.id}-all", parameters))
    pv = stage.bound("all")
    name = pv["metadata"]["name"]
    volume, export = target.client.get_volume(name), target.client.get_export(name)
    assert volume is not None
    assert (volume.thin, volume.allocated_bytes) == (False, 8 * MIB)
    assert export is not None
    assert export.chap == responses.ChapState(username=name, mutual_username=f"{name}-in")
    secret = stage.secret(pv)
    assert secret is not None
    assert (secret["metadata"]["namespace"], len(secret["data"])) == ("default", 4)
    assert "ownerReferences" not in secret["metadata"]
    stage.delete_claim("all")
    eventually(lambda: stage.secret(pv) is None, "the secret to go with its volume, which no claim owns")


def test_initiators_are_the_only_ones_let_in(stage: Stage) -> None:
    named = "iqn.2026-11.test:node"
    stage.claim("noded", storageClassName=stage.make_class(f"{stage.id}-noded", {"initiators": named}))
    own = login(stage, stage.bound("noded"))
    assert not can_log_in(own)
    assert can_log_in(Login(own.portal, own.iqn, own.user, own.password, named))
