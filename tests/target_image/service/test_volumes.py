"""Volumes through the API of a real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from lundock_common.quantity import GIB, MIB
from target_image.api import fields, requests
from target_image.api.client import ApiProblem, TargetClient
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent, export_spec, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def refused(code: str) -> pytest.RaisesExc[ApiProblem]:
    return pytest.RaisesExc(ApiProblem, check=lambda problem: problem.code == code)


def test_ensure_is_idempotent_and_a_size_is_a_minimum(client: TargetClient) -> None:
    made = client.ensure_volume("disk", volume_spec(16))
    assert (made.size_bytes, made.phase, made.allocated_bytes) == (16 * MIB, fields.Phase.READY, 0)
    assert client.ensure_volume("disk", volume_spec(16)) == made
    assert client.ensure_volume("disk", volume_spec(1)) == made
    assert client.ensure_volume("odd", requests.VolumeSpec(size_bytes=MIB + 1)).size_bytes == 2 * MIB


def test_another_identity_is_refused(client: TargetClient) -> None:
    client.ensure_volume("disk", volume_spec())
    client.ensure_volume("other", volume_spec())
    with refused("identity-conflict"):
        client.ensure_volume("disk", volume_spec(source=requests.VolumeSource(volume="other")))
    owned = requests.VolumeSpec(size_bytes=16 * MIB, owner=requests.Owner(cluster="uid", release="ns/name"))
    with refused("identity-conflict"):
        client.ensure_volume("disk", owned)


def test_delete_is_idempotent_and_takes_the_data(agent: AgentProcess, client: TargetClient) -> None:
    client.ensure_volume("disk", volume_spec())
    assert (agent.data / "volumes" / "disk.raw").exists()
    for _ in range(2):
        client.delete_volume("disk")
    assert client.get_volume("disk") is None
    assert not list((agent.data / "volumes").iterdir())


def test_an_exported_volume_is_not_deleted(client: TargetClient) -> None:
    client.ensure_volume("disk", volume_spec())
    client.ensure_export("disk", export_spec("disk"))
    for attempt in (client.delete_volume, client.trash_volume):
        with refused("volume-exported"):
            attempt("disk")


def test_what_cannot_be_kept_is_not_promised(client: TargetClient) -> None:
    free = client.capacity().available_bytes
    with refused("no-space"):
        client.ensure_volume("disk", requests.VolumeSpec(size_bytes=free + GIB))
    assert client.get_volume("disk") is None
    promised = client.capacity().promised_bytes
    client.ensure_volume("disk", volume_spec(16))
    assert client.capacity().promised_bytes == promised + 16 * MIB
    with refused("no-space"):
        client.grow_volume("disk", free + GIB)
    volume = client.get_volume("disk")
    assert volume is not None
    assert volume.size_bytes == 16 * MIB


def test_overcommit_is_a_choice(make_agent: MakeAgent) -> None:
    with make_agent("--overcommit-ratio", "3").start().client() as client:
        capacity = client.capacity()
        assert capacity.overcommit_ratio == 3
        client.ensure_volume("disk", requests.VolumeSpec(size_bytes=2 * capacity.free_bytes))
        with refused("no-space"):
            client.ensure_volume("more", requests.VolumeSpec(size_bytes=2 * capacity.free_bytes))


def test_thick_takes_its_space_at_once(client: TargetClient) -> None:
    made = client.ensure_volume("disk", requests.VolumeSpec(size_bytes=16 * MIB, thin=False))
    assert made.allocated_bytes >= 16 * MIB


def test_grow(agent: AgentProcess, client: TargetClient) -> None:
    need("iscsi-ls")
    client.ensure_volume("disk", volume_spec(16))
    client.ensure_export("disk", export_spec("disk"))
    with refused("precondition-required"):
        client.ensure_volume("disk", volume_spec(32))
    assert client.grow_volume("disk", 32 * MIB).size_bytes == 32 * MIB
    assert initiator.size_bytes(agent.login("disk")) == 32 * MIB
    assert client.ensure_volume("disk", volume_spec(16)).size_bytes == 32 * MIB  # a late repeat of the first call


def test_grow_waits_for_the_sessions_to_end(agent: AgentProcess, client: TargetClient) -> None:
    need("qemu-iscsi")
    client.ensure_volume("disk", volume_spec(16))
    client.ensure_export("disk", export_spec("disk"))
    with initiator.Session(agent.login("disk", initiator="iqn.2026-11.test:vm")):
        with pytest.raises(ApiProblem, match="stop the VM") as caught:
            client.grow_volume("disk", 32 * MIB)
        assert caught.value.code == "in-use"
        assert [session.initiator for session in caught.value.sessions] == ["iqn.2026-11.test:vm"]
    eventually(lambda: not client.sessions(), "the session has ended")
    assert client.grow_volume("disk", 32 * MIB).size_bytes == 32 * MIB


def test_clone(agent: AgentProcess, client: TargetClient) -> None:
    need("qemu-iscsi")
    client.ensure_volume("golden", volume_spec(64))
    client.ensure_export("golden", export_spec("golden"))
    with initiator.Session(agent.login("golden")) as session:
        session.write(5 * MIB, 4096, pattern=0xC7)
        with refused("in-use"):
            client.ensure_volume("copy", volume_spec(16, requests.VolumeSource(volume="golden")))
        if client.capabilities().clone == "sparse-copy":
            with refused("not-supported"):
                client.ensure_volume("copy", volume_spec(16, requests.VolumeSource(volume="golden", allow_in_use=True)))
    assert client.get_volume("copy") is None
    eventually(lambda: not client.sessions(), "the session has ended")
    client.ensure_volume("copy", volume_spec(16, requests.VolumeSource(volume="golden")))
    eventually(lambda: _phase(client, "copy") is fields.Phase.READY, "the copy is ready")
    copy = client.get_volume("copy")
    assert copy is not None
    assert copy.size_bytes == 64 * MIB  # as large as its origin
    assert copy.allocated_bytes < MIB  # and as sparse
    client.ensure_export("copy", export_spec("copy"))
    with initiator.Session(agent.login("copy")) as session:
        session.read(5 * MIB, 4096, pattern=0xC7)
    assert initiator.inquiry(agent.login("copy"), page=0x80) != initiator.inquiry(agent.login("golden"), page=0x80)


def test_an_unknown_origin_makes_nothing(client: TargetClient) -> None:
    with refused("invalid"):
        client.ensure_volume("copy", volume_spec(source=requests.VolumeSource(volume="nothing")))
    with refused("unknown-image"):
        client.ensure_volume("copy", volume_spec(source=requests.ImageSource(image="nothing")))
    assert client.list_volumes() == []


def test_trash(agent: AgentProcess, client: TargetClient) -> None:
    client.ensure_volume("disk", volume_spec())
    (agent.data / "volumes" / "disk.raw").write_bytes(b"data" * MIB)
    for _ in range(2):
        assert client.trash_volume("disk").trashed_at is not None
    assert (agent.data / "trash" / "disk.raw").exists()
    for attempt in (
        lambda: client.ensure_export("disk", export_spec("disk")),
        lambda: client.ensure_volume("disk", volume_spec()),
    ):
        with refused("not-ready"):
            attempt()
    for _ in range(2):
        assert client.restore_volume("disk").trashed_at is None
    assert (agent.data / "volumes" / "disk.raw").read_bytes()[:4] == b"data"
    client.ensure_export("disk", export_spec("disk"))
    client.delete_export("disk")
    client.trash_volume("disk")
    client.delete_volume("disk")
    assert not list((agent.data / "trash").iterdir())


@pytest.mark.parametrize("harm", ["missing", "truncated", "a folder"])
def test_a_bad_backing_file_takes_its_own_export_offline(agent: AgentProcess, client: TargetClient, harm: str) -> None:
    need("iscsi-ls")
    for id in ("good", "bad"):
        client.ensure_volume(id, volume_spec())
        client.ensure_export(id, export_spec(id))
    path = agent.data / "volumes" / "bad.raw"
    aside = path.with_suffix(".aside")
    path.rename(aside)
    if harm == "truncated":
        path.write_bytes(bytes(MIB))
    elif harm == "a folder":
        path.mkdir()
    eventually(lambda: _export_phase(client, "bad") is fields.Phase.OFFLINE, "the bad one is offline")
    export = client.get_export("bad")
    assert export is not None
    assert export.condition is not None
    assert export.condition.code.startswith("backing-file-")
    assert not initiator.can_log_in(agent.login("bad"))
    assert initiator.can_log_in(agent.login("good"))
    agent.kill()
    agent.start()  # a bad file must not keep the others from being served
    assert _export_phase(client, "bad") is fields.Phase.OFFLINE
    assert _export_phase(client, "good") is fields.Phase.READY
    _remove(path)
    aside.rename(path)
    eventually(lambda: _export_phase(client, "bad") is fields.Phase.READY, "the mended one is back")
    assert initiator.can_log_in(agent.login("bad"))


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _phase(client: TargetClient, id: str) -> fields.Phase | None:
    volume = client.get_volume(id)
    return None if volume is None else volume.phase


def _export_phase(client: TargetClient, id: str) -> fields.Phase | None:
    export = client.get_export(id)
    return None if export is None else export.phase


def test_file_modes_are_private(agent: AgentProcess, client: TargetClient) -> None:
    client.ensure_volume("disk", volume_spec())
    for path in (agent.data / "volumes" / "disk.raw", agent.data / "ledger.sqlite"):
        assert path.stat().st_mode & 0o077 == 0, path
