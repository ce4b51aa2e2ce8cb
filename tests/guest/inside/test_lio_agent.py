"""The whole agent over LIO: the same API, and what outlives which end of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from target_image.api import fields
from target_image.api.client import ApiProblem
from tests.guest.initiator import IscsiVolume, attach, detach, format_and_mount
from tests.guest.inside.here import Here
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import export_spec, volume_spec
from tests.waiting import eventually

INITIATOR = "iqn.2026-11.io.lundock:guest"
CHAP = {"username": "disk", "password": "twelve-letters"}
CONFIGFS = Path("/sys/kernel/config/target")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path, "--engine", "lio").start()
    yield agent
    agent.stop()
    assert list((CONFIGFS / "core").glob("*/lundock-*")) == []
    assert list((CONFIGFS / "iscsi").glob("iqn.*")) == []


@pytest.fixture
def node() -> Iterator[Here]:
    here = Here()
    yield here
    here.run("umount /mnt/volume; iscsiadm -m node --logout; iscsiadm -m node -o delete", check=False)


def exported(agent: AgentProcess) -> IscsiVolume:
    with agent.client() as client:
        assert client.capabilities().engine == "lio"
        client.ensure_volume("disk", volume_spec(64))
        made = client.ensure_export("disk", export_spec("disk", chap=CHAP, access={"initiators": [INITIATOR]}))
        assert made.phase is fields.Phase.READY
    return IscsiVolume((agent.portal,), made.iqn, 1, CHAP["username"], CHAP["password"])


def test_a_mounted_volume_survives_the_agents_death_and_its_restart(agent: AgentProcess, node: Here) -> None:
    volume = exported(agent)
    [device] = attach(node, volume)
    format_and_mount(node, device, "/mnt/volume")
    agent.kill()
    node.run("echo alone >/mnt/volume/alone && sync -f /mnt/volume")  # the kernel goes on without the agent
    agent.start()
    with agent.client() as client:
        assert [session.initiator for session in client.sessions()] == [INITIATOR]
    assert agent.stop() == 0  # takes the target down under the mount
    assert list((CONFIGFS / "iscsi").glob("iqn.*")) == []
    node.run("(echo during >/mnt/volume/during && sync -f /mnt/volume && touch /tmp/synced) >/dev/null 2>&1 &")
    agent.start()
    node.until("test -e /tmp/synced", timeout_s=120)
    node.run("echo 3 >/proc/sys/vm/drop_caches")
    assert node.run("cat /mnt/volume/alone /mnt/volume/during").stdout == "alone\nduring\n"
    node.run("umount /mnt/volume; rm /tmp/synced")
    detach(node, volume)


def test_the_api_says_what_lio_cannot_do(agent: AgentProcess, node: Here) -> None:
    volume = exported(agent)
    with agent.client() as client:
        refused: list[tuple[dict[str, object], str]] = [
            ({"access": {"networks": ["10.0.0.0/8"]}}, "network"),
            ({"iqn": "iqn.2026-11.test:Upper"}, "lower case"),
            ({"chap": {"username": "other", "password": "NULL-and-the-rest"}}, "NULL"),
        ]
        for more, reason in refused:
            with pytest.raises(ApiProblem, match=reason) as caught:
                client.ensure_export("other", export_spec("disk", **more))
            assert caught.value.status == 422
        assert [export.id for export in client.list_exports()] == ["disk"]
        attach(node, volume)
        with pytest.raises(ApiProblem) as caught:
            client.delete_export("disk")
        assert caught.value.code == "in-use"
        with pytest.raises(ApiProblem) as caught:
            client.grow_volume("disk", 2**27)
        assert caught.value.code == "in-use"
        detach(node, volume)
        eventually(lambda: not client.sessions(), "the node has logged out")
        assert client.grow_volume("disk", 2**27).size_bytes == 2**27
        [device] = attach(node, volume)
        assert node.run(f"blockdev --getsize64 {device}").stdout == f"{2**27}\n"
        detach(node, volume)
        eventually(lambda: not client.sessions(), "the node has logged out")
        client.delete_export("disk")
        client.delete_volume("disk")
