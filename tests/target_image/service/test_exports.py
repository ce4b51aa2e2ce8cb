"""Exports through the API of a real agent; and the checks that need none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.engines import EngineCapabilities
from target_image.agent.errors import Invalid, NotSupported
from target_image.agent.service.exports import check
from target_image.api import fields
from target_image.api.client import ApiProblem, TargetClient
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent, MakeLocalAgent, export_spec, volume_spec
from tests.target_image.service.test_volumes import refused
from tests.waiting import eventually

TGT = EngineCapabilities("detached", True, True, True, False, True)
LIO = EngineCapabilities("detached", True, True, False, False, True)
OLD, NEW = "the-first-password", "the-second-password"


def chap(password: str, username: str = "disk") -> dict[str, str]:
    return {"username": username, "password": password}


@pytest.mark.parametrize(
    ("engine", "more", "error"),
    [
        (TGT, {"access": {"networks": ["10.0.0.1/8"]}}, Invalid),
        (TGT, {"access": {"networks": ["0.0.0.0/0"]}}, Invalid),
        (TGT, {"access": {"networks": ["everyone"]}}, Invalid),
        (TGT, {"access": {"networks": ["10.0.0.0/8"], "initiators": ["iqn.2026-11.test:a"]}}, NotSupported),
        (LIO, {"access": {"networks": ["10.0.0.0/8"]}}, NotSupported),
        (TGT, {"luns": [{"lun": 1, "volume": "a"}, {"lun": 1, "volume": "b"}]}, Invalid),
        (TGT, {"chap": {**chap(OLD), "mutual_username": "other"}}, Invalid),
        (TGT, {"chap": {**chap(OLD), "mutual_username": "other", "mutual_password": OLD}}, Invalid),
        (TGT, {"chap": {**chap(OLD), "mutual_username": "disk", "mutual_password": NEW}}, Invalid),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    engine: EngineCapabilities, more: dict[str, object], error: type[Invalid]
) -> None:
    with pytest.raises(error):
        check(export_spec("disk", **more), engine)


@pytest.mark.integration
class TestOverTheApi:
    @pytest.fixture(autouse=True)
    def disk(self, client: TargetClient) -> None:
        client.ensure_volume("disk", volume_spec())

    def test_ensure_is_idempotent(self, client: TargetClient) -> None:
        spec = export_spec("disk", chap=chap(OLD))
        made = client.ensure_export("disk", spec)
        assert made.iqn == "iqn.2026-11.io.lundock:disk"
        assert made.phase is fields.Phase.READY
        assert client.ensure_export("disk", spec) == made
        for _ in range(2):
            client.delete_export("disk")
        assert client.get_export("disk") is None

    def test_changes_need_the_revision(self, agent: AgentProcess, client: TargetClient) -> None:
        client.ensure_export("disk", export_spec("disk", chap=chap(OLD)))
        with refused("precondition-required"):
            client.ensure_export("disk", export_spec("disk", chap=chap(NEW)))
        client.change_export("disk", export_spec("disk", chap=chap(NEW)))
        with refused("precondition-required"):  # a late repeat of the first call changes nothing back
            client.ensure_export("disk", export_spec("disk", chap=chap(OLD)))
        assert initiator.can_log_in(agent.login("disk", "disk", NEW))

    def test_rotation_waits_for_the_session(self, agent: AgentProcess, client: TargetClient) -> None:
        need("qemu-iscsi")
        client.ensure_export("disk", export_spec("disk", chap=chap(OLD)))
        with initiator.Session(agent.login("disk", "disk", OLD)) as session:
            with refused("in-use"):
                client.change_export("disk", export_spec("disk", chap=chap(NEW)))
            session.read(0, 4096)
            client.change_export("disk", export_spec("disk", chap=chap(NEW)), force=True)
            eventually(lambda: not client.sessions(), "the session with the old password is gone")
        assert initiator.can_log_in(agent.login("disk", "disk", NEW))
        assert not initiator.can_log_in(agent.login("disk", "disk", OLD))
        assert not initiator.can_log_in(agent.login("disk"))

    def test_who_may_not_log_in_any_more_is_logged_out(self, agent: AgentProcess, client: TargetClient) -> None:
        need("qemu-iscsi")
        client.ensure_export("disk", export_spec("disk"))
        with initiator.Session(agent.login("disk", initiator="iqn.2026-11.test:old")):
            client.change_export("disk", export_spec("disk", access={"initiators": ["iqn.2026-11.test:new"]}))
            eventually(lambda: not client.sessions(), "the old initiator is out")
            assert initiator.can_log_in(agent.login("disk", initiator="iqn.2026-11.test:new"))

    def test_delete_with_a_live_session(self, agent: AgentProcess, client: TargetClient) -> None:
        need("qemu-iscsi")
        client.ensure_export("disk", export_spec("disk"))
        with initiator.Session(agent.login("disk", initiator="iqn.2026-11.test:vm")):
            with pytest.raises(ApiProblem) as caught:
                client.delete_export("disk")
            assert (caught.value.code, caught.value.retryable) == ("in-use", True)
            assert [session.initiator for session in caught.value.sessions] == ["iqn.2026-11.test:vm"]
            client.delete_export("disk", force=True)
            assert client.get_export("disk") is None
        assert not initiator.can_log_in(agent.login("disk"))

    def test_sessions_are_listed_and_ended(self, agent: AgentProcess, client: TargetClient) -> None:
        need("qemu-iscsi")
        client.ensure_export("disk", export_spec("disk"))
        with initiator.Session(agent.login("disk")) as session:
            [live] = client.sessions()
            assert (live.export, live.addresses) == ("disk", ["127.0.0.1"])
            client.end_session("disk", live.session)
            session.read(0, 4096)  # who may log in comes back
            export = client.get_export("disk")
            assert export is not None
            assert export.sessions == 1

    def test_names_are_unique(self, client: TargetClient) -> None:
        client.ensure_export("disk", export_spec("disk", chap=chap(OLD), iqn="iqn.2026-11.test:taken"))
        with refused("name-taken"):
            client.ensure_export("iqn", export_spec("disk", iqn="iqn.2026-11.test:taken"))
        with refused("name-taken"):
            client.ensure_export("chap", export_spec("disk", chap=chap(OLD)))
        assert [export.id for export in client.list_exports()] == ["disk"]

    def test_an_unknown_volume_makes_nothing(self, client: TargetClient) -> None:
        with refused("invalid"):
            client.ensure_export("other", export_spec("nothing"))
        assert client.list_exports() == []

    def test_a_single_address_as_a_network(self, agent: AgentProcess, client: TargetClient) -> None:
        made = client.ensure_export("disk", export_spec("disk", access={"networks": ["127.0.0.1/32"]}))
        assert made.access.networks == ["127.0.0.1"]
        assert initiator.can_log_in(agent.login("disk"))

    @pytest.mark.parametrize("network", ["::1", "fd00::/8", "0.0.0.0/1"])
    def test_a_network_that_tgt_would_mix_up_is_refused(self, client: TargetClient, network: str) -> None:
        """tgt compares addresses without their families: an IPv4 initiator passed for the IPv6 one before it (seen)."""
        with refused("not-supported"):
            client.ensure_export("disk", export_spec("disk", access={"networks": [network]}))
        assert client.list_exports() == []

    def test_no_password_is_ever_told(self, agent: AgentProcess, client: TargetClient) -> None:
        both = {**chap(OLD), "mutual_username": "target", "mutual_password": NEW}
        client.ensure_export("disk", export_spec("disk", chap=both))
        told = repr(client.get_export("disk")) + repr(client.list_exports()) + agent.log.read_text()
        for pid in (agent.pid, *agent.tgtd_pids()):
            told += Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
        assert OLD not in told
        assert NEW not in told


@pytest.mark.integration
def test_what_the_engine_refuses_leaves_nothing_behind(make_local_agent: MakeLocalAgent, tmp_path: Path) -> None:
    agent = make_local_agent()
    for name in ("good", "b=d"):
        (tmp_path / name).write_bytes(bytes(MIB))
    agent.volumes.adopt("good", tmp_path / "good", size_bytes=MIB)
    agent.volumes.adopt("bad", tmp_path / "b=d", size_bytes=MIB)
    with pytest.raises(Invalid, match="rename"):
        agent.exports.ensure("new", export_spec("bad"))
    made = agent.exports.ensure("there", export_spec("good"))
    with pytest.raises(Invalid, match="rename"):
        agent.exports.ensure("there", export_spec("bad"), "*")
    assert agent.exports.list() == [made.answer]


@pytest.mark.integration
def test_shards_share_the_exports_and_keep_them(make_agent: MakeAgent) -> None:
    agent = make_agent(shards=2).start()
    with agent.client() as client:
        for id in ("a", "b", "c", "d"):
            client.ensure_volume(id, volume_spec())
            client.ensure_export(id, export_spec(id))
        before = {export.id: (export.shard, export.portals) for export in client.list_exports()}
        assert sorted(shard for shard, _ in before.values()) == [0, 0, 1, 1]
        agent.kill()
        agent.start()
        assert {export.id: (export.shard, export.portals) for export in client.list_exports()} == before
    fewer = make_agent("--data-dir", str(agent.data), name="fewer")
    agent.stop()
    assert fewer.start(ready=False).wait() == 2
    assert "--shards 2" in fewer.log.read_text()
    agent.start()
    for id, (_, [portal]) in before.items():
        assert initiator.discover(portal) >= {f"iqn.2026-11.io.lundock:{id}"}
