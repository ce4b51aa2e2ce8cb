"""Initiators whose names are made to be mistaken for tgtd's own words: they hide nothing and harm nobody else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from target_image.agent.engines.tgt import show
from target_image.agent.errors import InUse
from target_image.api import fields
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeLocalAgent, export_spec, volume_spec
from tests.target_image.contract.conftest import Place, place  # noqa: F401 - a fixture
from tests.target_image.raw_login import raw_login
from tests.waiting import eventually

pytestmark = pytest.mark.integration

NAMES = [
    b"",
    b" iqn.2026-11.test:blank",
    b"\niqn.2026-11.test:line",
    b"iqn.2026-11.test:a\n        IP Address: 10.0.0.1\nSession: 99\n    Connection: 0\n        Initiator: iqn.x",
    b"iqn.2026-11.test:a\n    LUN information:\n        LUN: 9",
    b"iqn.2026-11.test:a\x0b\x1c\xc2\x85",
]
IDS = ["empty", "blank", "line", "session", "section", "controls"]


@pytest.mark.parametrize("name", NAMES, ids=IDS)
def test_no_name_hides_a_session(make_local_agent: MakeLocalAgent, name: bytes) -> None:
    agent = make_local_agent()
    agent.volumes.ensure("disk", volume_spec())
    agent.exports.ensure("disk", export_spec("disk"))
    login = initiator.Login(f"127.0.0.1:{agent.settings.iscsi_port}", "iqn.2026-11.io.lundock:disk")
    with raw_login(login, name):
        assert show.NAMELESS in [session.initiator for session in agent.exports.sessions()]
        with pytest.raises(InUse):
            agent.exports.remove("disk")
        chap = {"username": "disk", "password": "the-next-password"}
        agent.exports.ensure("disk", export_spec("disk", chap=chap), "*", force=True)
        eventually(lambda: agent.exports.sessions() == [], "the forced change ends the session")
        assert [volume.phase for volume in agent.volumes.list()] == [fields.Phase.READY]


@pytest.mark.parametrize("name", [*NAMES, b"iqn.2026-11.test:alias"], ids=[*IDS, "alias"])
def test_one_name_does_not_change_what_is_known_of_others(place: Place, name: bytes) -> None:  # noqa: F811
    need("qemu-iscsi")
    victim, host = place.target("victim"), place.target("host")
    others = [place.target(f"other-{number}") for number in range(20)]
    everyone = [victim, host, *others]
    for target in everyone:
        place.engine.apply(target)
    forged = f"\n    LUN information:\nTarget {victim.tid}: {victim.iqn}\n    System information:\n".encode()
    forged += b"    I_T nexus information:\n    LUN information:\n    Account information:\n    ACL information:\n"
    with ExitStack() as stack:
        stack.enter_context(initiator.Session(place.login(victim)))
        evil = stack.enter_context(raw_login(place.login(host), name, alias=b"x" + forged))
        assert {session.iqn for session in place.engine.sessions(everyone)} == {victim.iqn, host.iqn}
        assert place.engine.audit(everyone) == []
        if show.NAMELESS in [session.initiator for session in place.engine.sessions([host])]:
            pytest.fail("the audit shows out who has no proper name")
        assert [session.iqn for session in place.engine.sessions([victim])] == [victim.iqn]
        evil.close()
    assert place.engine.audit(everyone) == []


def test_the_agent_still_stops_in_time(agent: AgentProcess) -> None:
    with agent.client() as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
    with raw_login(agent.login("disk"), NAMES[4]):
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()
