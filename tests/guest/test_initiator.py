"""The kernel's initiator in the guest against the agent and tgt on the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import SecretStr

from target_image.api import requests
from tests.guest.initiator import IscsiVolume, attach, detach, discover, format_and_mount, own_address
from tests.guest.machine import GuestError, Machine
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent, export_spec, make_agent, volume_spec  # noqa: F401 - a fixture

pytestmark = [pytest.mark.guest, pytest.mark.integration]

CHAP = requests.Chap(
    username="node-test",
    password=SecretStr("twelve-letters"),
    mutual_username="node-test-in",
    mutual_password=SecretStr("twelve-others"),
)


@dataclass(frozen=True)
class Served:
    agent: AgentProcess
    volume: IscsiVolume


@pytest.fixture
def served(make_agent: MakeAgent) -> Served:  # noqa: F811
    agent = make_agent("--iscsi-addresses", own_address()).start()
    with agent.client() as client:
        client.ensure_volume("node-test", volume_spec(256))
        export = client.ensure_export("node-test", export_spec("node-test", chap=CHAP))
    portal = f"{own_address()}:{agent.port}"
    return Served(agent, IscsiVolume((portal,), export.iqn, 1, "node-test", "twelve-letters"))


def test_discovery_finds_the_target(guest: Machine, served: Served) -> None:
    [portal] = served.volume.portals
    assert discover(guest, portal) == [f"{portal},1 {served.volume.iqn}"]
    guest.run(f"iscsiadm -m discoverydb -t sendtargets -p {portal} -o delete")


def test_a_volume_is_mounted_and_outlives_a_crash_of_its_target(guest: Machine, served: Served) -> None:
    volume = replace(served.volume, mutual_username="node-test-in", mutual_password="twelve-others")
    try:
        [device] = attach(guest, volume)
        format_and_mount(guest, device, "/mnt/volume")
        guest.run("echo written >/mnt/volume/before && sync -f /mnt/volume")
        served.agent.kill()
        guest.run("(echo during >/mnt/volume/during && sync -f /mnt/volume && touch /tmp/synced) >/dev/null 2>&1 &")
        served.agent.start()
        guest.until("test -e /tmp/synced", timeout_s=120)
        guest.run("echo 3 >/proc/sys/vm/drop_caches")
        assert guest.run("cat /mnt/volume/before /mnt/volume/during").stdout == "written\nduring\n"
    finally:
        guest.run("umount /mnt/volume; rm -f /tmp/synced", check=False)
        detach(guest, volume)


@pytest.mark.parametrize("wrong", [{"password": "another-password"}, {"username": ""}], ids=["password", "no CHAP"])
def test_a_node_without_the_password_is_refused(guest: Machine, served: Served, wrong: dict[str, Any]) -> None:
    stranger = replace(served.volume, **wrong)
    try:
        with pytest.raises(GuestError, match="authorization failure"):
            attach(guest, stranger)
    finally:
        detach(guest, stranger)
