"""An agent lives, dies and comes back; what it acknowledged is there each time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from target_image.agent import addresses
from target_image.agent.engines.lio import host
from target_image.agent.engines.tgt.engine import TgtEngine
from target_image.agent.engines.tgt.ipc import Mode, Op, Request
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings
from target_image.agent.state.rows import ExportRecord
from target_image.api import fields
from target_image.api.client import ApiProblem
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent, MakeLocalAgent, export_spec, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration
PASSWORD = "a-long-password"


def test_what_was_acknowledged_survives_kill_9(agent: AgentProcess) -> None:
    need("iscsi-ls", "qemu-iscsi")
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk", chap={"username": "disk", "password": PASSWORD}))
    login = agent.login("disk", "disk", PASSWORD)
    with initiator.Session(login) as session:
        session.write(4096, 4096, pattern=0x5A)
    identity = initiator.inquiry(login, page=0x83)

    agent.kill()
    agent.start()

    with initiator.Session(login) as session:
        session.read(4096, 4096, pattern=0x5A)
    assert initiator.inquiry(login, page=0x83) == identity
    assert not initiator.can_log_in(agent.login("disk", "disk", "another-password"))
    assert not initiator.can_log_in(agent.login("disk"))


def test_tgtd_dies_with_a_killed_agent(agent: AgentProcess) -> None:
    [pid] = agent.tgtd_pids()
    agent.kill()
    eventually(lambda: not _runs(pid), "tgtd is gone")


def test_a_killed_tgtd_is_started_again_with_everything(agent: AgentProcess) -> None:
    need("iscsi-ls")
    with agent.client() as client:
        for id in ("one", "two"):
            client.ensure_volume(id, volume_spec())
            client.ensure_export(id, export_spec(id, chap={"username": id, "password": PASSWORD}))
        [pid] = agent.tgtd_pids()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: agent.tgtd_pids() not in ([pid], []) and agent.ready(), "another tgtd serves")
        assert [export.phase for export in client.list_exports()] == [fields.Phase.READY] * 2
    for id in ("one", "two"):
        assert initiator.can_log_in(agent.login(id, id, PASSWORD))
        assert not initiator.can_log_in(agent.login(id))


def test_a_hung_tgtd_is_started_again(make_agent: MakeAgent) -> None:
    need("qemu-iscsi")
    agent = make_agent("--hung-after-s=1").start()
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
    [pid] = agent.tgtd_pids()
    with initiator.Session(agent.login("disk")) as session:
        session.write(0, 4096, pattern=7)
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: not _runs(pid), "the tgtd that hangs is gone")
        session.read(0, 4096, pattern=7)
    eventually(agent.ready, "another tgtd serves")


def test_a_replay_that_fails_is_begun_again(make_local_agent: MakeLocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the new tgtd would stay offline, alive and empty, until somebody restarts the agent."""
    need("iscsi-ls")
    agent = make_local_agent()
    for id in ("one", "two"):
        agent.volumes.ensure(id, volume_spec())
        agent.exports.ensure(id, export_spec(id))
    failures = iter([True])
    finish = agent.exports.finish

    def finish_later(record: ExportRecord, *, replay: bool = False) -> None:
        if next(failures, False):
            raise OSError(errno.EIO, "a disk of the ledger that hiccups")
        finish(record, replay=replay)

    monkeypatch.setattr(agent.exports, "finish", finish_later)
    engine = agent.engine
    assert isinstance(engine, TgtEngine)
    engine._daemons[0].kill()
    eventually(lambda: agent.supervisor.restarts == 1 and agent.ready(), "it serves again")
    for id in ("one", "two"):
        login = initiator.Login(engine.portals(0)[0], f"iqn.2026-11.io.lundock:{id}")
        assert initiator.can_log_in(login)


def test_an_account_that_was_left_behind_opens_nothing(make_local_agent: MakeLocalAgent) -> None:
    """As an attempt leaves it that broke off: tgtd would keep its password under the same name."""
    need("iscsi-ls")
    agent = make_local_agent()
    engine = agent.engine
    assert isinstance(engine, TgtEngine)
    left = Request(Mode.ACCOUNT, Op.NEW, text="user=disk,password=the-one-before")
    engine._daemons[0].socket.send(left)
    agent.volumes.ensure("disk", volume_spec())
    agent.exports.ensure("disk", export_spec("disk", chap={"username": "disk", "password": PASSWORD}))
    login = initiator.Login(engine.portals(0)[0], "iqn.2026-11.io.lundock:disk", "disk", PASSWORD)
    assert initiator.can_log_in(login)
    assert not initiator.can_log_in(replace(login, password="the-one-before"))


def test_a_session_survives_the_death_of_tgtd(agent: AgentProcess) -> None:
    need("qemu-iscsi")
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
    with initiator.Session(agent.login("disk")) as session:
        session.write(0, 4096, pattern=7)
        os.kill(agent.tgtd_pids()[0], signal.SIGKILL)
        session.read(0, 4096, pattern=7)


def test_sigterm_ends_in_time_with_a_live_session(agent: AgentProcess) -> None:
    need("qemu-iscsi")
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
    [tgtd] = agent.tgtd_pids()
    with initiator.Session(agent.login("disk")):
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 5, "`docker stop` would have lost its patience soon"
    assert not _runs(tgtd)


def test_it_serves_over_ipv6(settings: Settings) -> None:
    need("tgtd", "iscsi-ls", "qemu-iscsi")
    if not addresses.usable("::1"):
        pytest.skip("this machine has no IPv6")
    agent = Agent(settings.model_copy(update={"iscsi_addresses": ("::1",)}))
    agent.start()
    try:
        eventually(agent.ready, "it serves")
        agent.volumes.ensure("disk", volume_spec())
        made = agent.exports.ensure("disk", export_spec("disk", access={"networks": ["::1"]})).answer
        agent.exports.ensure("other", export_spec("disk", access={"networks": ["2001:db8::/32"]}))
        portal = f"[::1]:{settings.iscsi_port}"
        assert made.portals == [portal]
        assert initiator.discover(portal) == {made.iqn}
        with initiator.Session(initiator.Login(portal, made.iqn)) as session:
            session.write(0, 4096, pattern=6)
            assert [live.addresses for live in agent.exports.sessions()] == [["::1"]]
        assert not initiator.can_log_in(initiator.Login(portal, "iqn.2026-11.io.lundock:other"))
    finally:
        agent.stop()


def test_without_lio_the_agent_says_what_is_missing(make_agent: MakeAgent) -> None:
    need("root")
    if host.LIO.is_dir():
        pytest.skip("this machine has LIO; tests/guest tries it")
    agent = make_agent("--engine", "lio").start(ready=False)
    assert agent.wait() == 1
    assert any(part in agent.log.read_text() for part in (str(host.CONFIGFS), "modprobe target_core_mod"))
    assert "Traceback" not in agent.log.read_text()


def test_lio_without_its_rights_says_so() -> None:
    need("root")
    script = "import os; from target_image.agent.engines.lio import host; os.seteuid(65532); host.load_lio()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "LIO cannot be used, it lacks root (run the container with" in done.stderr.splitlines()[-1]


def test_a_port_in_use_is_told_and_ends_the_agent(make_agent: MakeAgent) -> None:
    first = make_agent(name="first").start()
    second = make_agent("--iscsi-port", str(first.port), name="second").start(ready=False)
    assert second.wait() == 1
    assert "could not listen on" in second.log.read_text()


def test_one_data_folder_serves_one_agent(make_agent: MakeAgent) -> None:
    first = make_agent(name="first").start()
    second = make_agent("--data-dir", str(first.data), name="second").start(ready=False)
    assert second.wait() == 1
    assert "another agent holds" in second.log.read_text()


def test_the_grace_time_after_a_start(make_agent: MakeAgent) -> None:
    agent = make_agent("--delete-grace-s", "600").start()
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
        client.ensure_volume("young", volume_spec())
        agent.stop()
        agent.start()
        with pytest.raises(ApiProblem) as caught:
            client.delete_export("disk")
        assert caught.value.code == "start-grace"
        assert caught.value.retryable
        assert 0 < (caught.value.retry_after_s or 0) <= 600
        client.ensure_export("young", export_spec("young"))
        client.delete_export("young")  # made after the start, so nobody can be on the way back
        client.delete_export("disk", force=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
