"""The demo target on a real agent and a real tgtd: what it serves, stand-ins, and starts on kept data."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.demo import target as demo_target
from target_image.agent.demo.plan import plan
from target_image.agent.demo.target import Demo
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings
from tests.capabilities import need
from tests.target_image import image_server
from tests.target_image.conftest import MakeLocalAgent
from tests.target_image.image_server import ImageServer
from tests.target_image.initiator import Login, Session, can_log_in, discover, inquiry, size_bytes
from tests.waiting import eventually

DEMO_DISK = b"the demo disk".ljust(MIB, b"\1")
IMAGE = b"an image".ljust(2 * MIB, b"\2")
DIGEST = "sha256:" + hashlib.sha256(IMAGE).hexdigest()
IQN = "iqn.2017-01.io.kubevirt:sn.42"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "demo.img.gz").write_bytes(gzip.compress(DEMO_DISK))
    return settings


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server.running() as running:
        yield running


def started(agent: Agent, **environ: str) -> list[str]:
    """Start the demo; the list has its banner once it was told."""
    said: list[str] = []
    Demo(plan({"SIZE": "8M", "IMAGES": "", **environ}), agent, said.append).start()
    return said


def served(agent: Agent, **environ: str) -> str:
    said = started(agent, **environ)
    eventually(lambda: bool(said), "the demo target is served", timeout_s=30)
    return said[0]


def login(agent: Agent, iqn: str = IQN, **chap: str) -> Login:
    return Login(f"127.0.0.1:{agent.settings.iscsi_port}", iqn, **chap)


def first_bytes(agent: Agent, lun: int) -> int:
    """The byte that fills the end of a LUN's first MiB."""
    with Session(login(agent), lun, read_only=True) as session:
        answer = session.run("read -v 1048064 16")
    return int(answer.split(":")[1].split()[0], 16)


def test_the_empty_lun_and_the_demo_disk(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    banner = served(agent)
    assert size_bytes(login(agent), 1) == 8 * MIB
    assert size_bytes(login(agent), 4) == MIB
    assert first_bytes(agent, 4) == 1
    assert IQN in banner
    assert f"iscsi://127.0.0.1:{agent.settings.iscsi_port}/{IQN}/4" in banner


def test_an_image_by_url(make_local_agent: MakeLocalAgent, server: ImageServer) -> None:
    agent = make_local_agent()
    served(agent, IMAGES=f"{server.add('/a.img', IMAGE)}#{DIGEST}")
    assert size_bytes(login(agent), 2) == 2 * MIB
    assert first_bytes(agent, 2) == 2
    assert "Product:VOLUME" in inquiry(login(agent), 2)


def test_an_image_by_url_that_does_not_say_it_is_qcow2(
    make_local_agent: MakeLocalAgent, server: ImageServer, tmp_path: Path
) -> None:
    """As CirrOS' and Ubuntu's are named: the 2017 demo served such bytes as they were, and nothing booted."""
    need("qemu-img")
    (tmp_path / "raw").write_bytes(IMAGE)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(tmp_path / "raw"), str(tmp_path / "qcow2")]
    subprocess.run(argv, check=True, timeout=60)
    content = (tmp_path / "qcow2").read_bytes()
    agent = make_local_agent()
    served(agent, IMAGES=f"{server.add('/a.img', content)}#sha256:{hashlib.sha256(content).hexdigest()}")
    assert "Product:VOLUME" in inquiry(login(agent), 2)
    assert size_bytes(login(agent), 2) == 2 * MIB
    assert first_bytes(agent, 2) == 2


def test_the_others_are_served_while_an_image_is_on_its_way(
    make_local_agent: MakeLocalAgent, server: ImageServer
) -> None:
    agent = make_local_agent()
    url = server.add("/a.img", IMAGE, hold=(hold := threading.Event()))
    said = started(agent, IMAGES=f"{url}#{DIGEST}")
    eventually(lambda: size_bytes(login(agent), 4) == MIB, "LUN 4 is there")
    assert size_bytes(login(agent), 2) is None
    assert said == []
    hold.set()
    eventually(lambda: size_bytes(login(agent), 2) == 2 * MIB, "LUN 2 is there")


def test_a_host_that_cannot_be_reached_is_stood_in_for_until_the_next_start(
    make_local_agent: MakeLocalAgent, server: ImageServer
) -> None:
    environ = {"IMAGES": f"{server.url('/a.img')}#{DIGEST}"}
    agent = make_local_agent()
    banner = served(agent, **environ)
    assert "STAND-IN" in banner
    assert "Product:STAND-IN" in inquiry(login(agent), 2)
    assert first_bytes(agent, 2) == 1
    volume = next(volume for volume in agent.volumes.list() if volume.stand_in)
    image = next(image for image in agent.images.list() if image.stand_in)
    assert (volume.stand_in, image.condition is not None) == (True, True)
    agent.stop()

    server.add("/a.img", IMAGE)
    agent = make_local_agent()
    assert "STAND-IN" not in served(agent, **environ)
    assert first_bytes(agent, 2) == 2
    assert "Product:VOLUME" in inquiry(login(agent), 2)


def test_a_silent_host_is_stood_in_for(
    make_local_agent: MakeLocalAgent, server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_target, "REACH_S", 0.5)
    url = server.add("/a.img", b"", hold=(hold := threading.Event()))
    agent = make_local_agent()
    assert "STAND-IN" in served(agent, IMAGES=f"{url}#{DIGEST}")
    hold.set()


def test_a_download_that_breaks_for_good_is_stood_in_for(make_local_agent: MakeLocalAgent, server: ImageServer) -> None:
    url = server.add("/a.img", IMAGE[:-1] + b"!")
    agent = make_local_agent()
    assert "STAND-IN" in served(agent, IMAGES=f"{url}#{DIGEST}")
    assert "Product:STAND-IN" in inquiry(login(agent), 2)


def test_kept_data_stays_over_a_start_with_the_same_identity(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    served(agent)
    with Session(login(agent), 1) as session:
        session.write(0, 4096, pattern=0x5A)
    before = inquiry(login(agent), 1, page=0x83)
    agent.stop()
    agent = make_local_agent()
    served(agent, SIZE="16M")
    with Session(login(agent), 1) as session:
        session.read(0, 4096, pattern=0x5A)
    assert inquiry(login(agent), 1, page=0x83) == before
    assert size_bytes(login(agent), 1) == 16 * MIB


def test_two_targets_are_never_the_same_disk(
    make_local_agent: MakeLocalAgent, settings: Settings, tmp_path: Path
) -> None:
    ids = []
    for name in ("one", "two"):
        agent = Agent(settings.model_copy(update={"data_dir": tmp_path / name}))
        agent.start()
        try:
            served(agent)
            ids.append(agent.ledger.exports()[0].luns[0].volume)
        finally:
            agent.stop()
    assert ids[0] != ids[1]


def test_another_iqn_at_the_next_start(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    served(agent)
    agent.stop()
    agent = make_local_agent()
    served(agent, IQN="iqn.2026-11.org.example:mine")
    assert discover(login(agent).portal) == {"iqn.2026-11.org.example:mine"}


def test_chap_of_2017(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    banner = served(agent, USERNAME="demo", PASSWORD="secret")
    assert not can_log_in(login(agent))
    assert not can_log_in(login(agent, user="demo", password="wrong"))
    assert can_log_in(login(agent, user="demo", password="secret"))
    assert "LIBISCSI_CHAP_USERNAME=demo" in banner
    assert "secret" not in banner
    agent.stop()
    agent = make_local_agent()
    served(agent, USERNAME="demo", PASSWORD="another one entirely")
    assert not can_log_in(login(agent, user="demo", password="secret"))
    assert can_log_in(login(agent, user="demo", password="another one entirely"))


def test_a_file_of_the_host(make_local_agent: MakeLocalAgent, tmp_path: Path) -> None:
    file = tmp_path / "host.img"
    file.write_bytes(bytes(4 * MIB))
    agent = make_local_agent()
    served(agent, EXPORT_HOST_PATHS=str(file))
    assert size_bytes(login(agent), 5) == 4 * MIB
    with Session(login(agent), 5) as session:
        session.write(0, 4096, pattern=0x5A)
    assert file.read_bytes()[:4096] == b"\x5a" * 4096
    agent.stop()
    agent = make_local_agent()
    served(agent)
    assert size_bytes(login(agent), 5) is None
    assert file.read_bytes()[:4096] == b"\x5a" * 4096


def test_a_file_of_the_host_keeps_its_identity_on_another_lun(make_local_agent: MakeLocalAgent, tmp_path: Path) -> None:
    """Two disks that change places are not the same disk to a multipath, whatever their LUNs are."""
    for name in ("one.img", "two.img"):
        (tmp_path / name).write_bytes(bytes(4 * MIB))
    agent = make_local_agent()
    served(agent, EXPORT_HOST_PATHS=f"{tmp_path}/one.img {tmp_path}/two.img")
    one, two = (inquiry(login(agent), lun, page=0x80) for lun in (5, 6))
    assert one != two
    agent.stop()
    agent = make_local_agent()
    served(agent, EXPORT_HOST_PATHS=f"{tmp_path}/two.img")
    assert inquiry(login(agent), 5, page=0x80) == two
    assert [volume.id for volume in agent.volumes.list() if "-host-one-" in volume.id] == []
    assert (tmp_path / "one.img").exists()
