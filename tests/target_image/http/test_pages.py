"""The landing page: what it shows (pure), what it answers, and how headless Chromium renders it."""

from __future__ import annotations

import gzip
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from lundock_common.portal import Portal
from lundock_common.quantity import MIB
from target_image.agent.http import pages
from target_image.agent.http.pages.view import MAX_EXPORTS, Page, page
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings
from target_image.api import fields, requests, responses
from tests.capabilities import need
from tests.target_image import image_server
from tests.target_image.conftest import MakeLocalAgent
from tests.target_image.initiator import Login, Session
from tests.waiting import eventually

PASSWORD = "never-to-be-shown"
IQN = "iqn.2017-01.io.kubevirt:sn.42"

CAPABILITIES = responses.Capabilities(
    version="1.2.3", engine="tgt", grow="detached", mutual_chap=True, access_by_initiator=True, access_by_network=True,
    access_by_both=False, clone="sparse-copy", unmap=True, shards=1,
)  # fmt: skip
CAPACITY = responses.Capacity(
    total_bytes=100, free_bytes=25, promised_bytes=50, available_bytes=10, overcommit_ratio=1.0
)


def volume(id: str, **more: object) -> responses.Volume:
    return responses.Volume(
        id=id, size_bytes=MIB, allocated_bytes=0, source=responses.EmptySource(), owner=None, thin=True,
        phase=fields.Phase.READY, created_at=datetime.now(UTC),
    ).model_copy(update=more)  # fmt: skip


def export(id: str = "e", volumes: tuple[str, ...] = ("v",), **more: object) -> responses.Export:
    luns = [responses.Lun(lun=number, volume=volume) for number, volume in enumerate(volumes, 1)]
    return responses.Export(
        id=id, iqn=IQN, luns=luns, access=responses.Access(), chap=None, owner=None, shard=0, portals=[],
        phase=fields.Phase.READY,
    ).model_copy(update=more)  # fmt: skip


def shown(**more: object) -> Page:
    parts: dict[str, object] = {
        "portal": Portal("host", 3260), "ready": True, "capabilities": CAPABILITIES, "capacity": CAPACITY,
        "exports": [export()], "volumes": [volume("v")], "images": [], "sessions": [],
    }  # fmt: skip
    return page(**(parts | more))  # type: ignore[arg-type]


def test_nothing_going_on_needs_no_reload() -> None:
    assert shown().refresh_s == 0


@pytest.mark.parametrize(
    "going_on",
    [
        {"ready": False},
        {"volumes": [volume("v", phase=fields.Phase.WORKING)]},
        {"images": [responses.Image(name="a", spec=None, phase=fields.Phase.WORKING)]},
    ],
)
def test_work_makes_the_page_reload(going_on: dict[str, object]) -> None:
    assert shown(**going_on).refresh_s > 0


def test_the_example_boots_the_first_lun_with_something_on_it() -> None:
    volumes = [
        volume("demo-01234567-empty"),
        volume("demo-01234567-alpine", source=responses.ImageSource(image="alpine")),
    ]
    card = shown(exports=[export(volumes=(volumes[0].id, volumes[1].id))], volumes=volumes).exports[0]
    assert [(lun.name, lun.blank) for lun in card.luns] == [("empty", True), ("alpine", False)]
    assert any(line.line.endswith(f"file=iscsi://host/{IQN}/2") for line in card.commands)


def test_a_shard_has_its_own_port() -> None:
    card = shown(exports=[export(shard=2)]).exports[0]
    assert any("iscsi://host:3262/" in command.line for command in card.commands)


def test_a_stand_in_and_a_lost_volume_are_told() -> None:
    rows = shown(exports=[export(volumes=("v", "gone"))], volumes=[volume("v", stand_in=True)]).exports[0].luns
    assert rows[0].state == "stand-in"
    assert "the demo disk" in rows[0].note
    assert (rows[1].state, rows[1].note) == ("offline", "its volume is gone")


def test_thousands_of_exports_are_counted() -> None:
    found = shown(exports=[export(f"e{number}") for number in range(MAX_EXPORTS + 7)])
    assert (len(found.exports), found.more_exports) == (MAX_EXPORTS, 7)


@pytest.mark.parametrize(("done", "total", "percent"), [(0, 0, 0), (1, 3, 33), (3, 3, 100), (5, 3, 100)])
def test_percent(done: int, total: int, percent: int) -> None:
    image = responses.Image(name="a", spec=None, phase=fields.Phase.WORKING, bytes_done=done, bytes_total=total)
    assert shown(images=[image]).images[0].percent == percent


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "demo.img.gz").write_bytes(gzip.compress(bytes(MIB)))
    return settings.model_copy(update={"image_hosts": ("127.0.0.0/8",)})


@contextmanager
def served(agent: Agent) -> Iterator[str]:
    app = FastAPI()
    app.include_router(pages.router(agent))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, "the page is served")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def fetched(url: str, host: str | None = None) -> tuple[str, dict[str, str]]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310 - our own URL
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.read().decode(), dict(answer.headers)


def filled(agent: Agent) -> Login:
    """One export with CHAP, and how to log in to it."""
    agent.volumes.ensure("disk", requests.VolumeSpec(size_bytes=MIB))
    content = {"iqn": IQN, "luns": [{"lun": 1, "volume": "disk"}], "chap": {"username": "anna", "password": PASSWORD}}
    agent.exports.ensure("disk", requests.ExportSpec.model_validate(content))
    return Login(f"127.0.0.1:{agent.settings.iscsi_port}", IQN, "anna", PASSWORD)


def test_the_page_tells_everything_but_secrets(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    with Session(filled(agent)), served(agent) as url:
        html, headers = fetched(url)
    assert IQN in html
    assert "anna" in html
    assert "1 live session<" in html
    assert "iqn.2026-11.test:initiator" in html
    assert PASSWORD not in html
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in html


def test_the_page_escapes_what_others_named(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    with served(agent) as url:
        html, _ = fetched(url, host="evil<script>.example")
        assert "<script" not in html
        html, _ = fetched(url, host="storage.example.org:8080")
    assert "<script" not in html


def test_commands_name_the_host_that_was_asked(make_local_agent: MakeLocalAgent) -> None:
    agent = make_local_agent()
    with Session(filled(agent)), served(agent) as url:
        html, _ = fetched(url, host="storage.example.org:8080")
    assert f"iscsi://storage.example.org:{agent.settings.iscsi_port}/{IQN}/1" in html


def test_a_progress_bar_moves_while_an_image_comes(make_local_agent: MakeLocalAgent) -> None:
    body = bytes(range(256)) * 16384
    with image_server.running() as server:
        slow = server.spec("/a.img", body, hold=(hold := threading.Event()))
        agent = make_local_agent()
        agent.images.put("slow", slow)
        eventually(lambda: agent.images.get("slow").bytes_done > 0, "bytes arrive")
        with served(agent) as url:
            html, _ = fetched(url)
            assert '<meta http-equiv="refresh"' in html
            assert '<progress max="100" value="' in html
            hold.set()
            eventually(lambda: agent.images.get("slow").phase is fields.Phase.READY, "the image is ready")
            html, _ = fetched(url)
            assert '<meta http-equiv="refresh"' not in html
            assert "<progress" not in html


def chromium(folder: Path, *arguments: str) -> str:
    need("chromium")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=2000"
    argv = ["chromium", *flags.split(), f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_chromium_shows_it_without_javascript(make_local_agent: MakeLocalAgent, tmp_path: Path) -> None:
    """Its own policy forbids every script (see above), so what is shown here needs none."""
    need("chromium")
    agent = make_local_agent()
    with Session(filled(agent)), served(agent) as url:
        dom = chromium(tmp_path, "--dump-dom", url)
        picture = tmp_path / "page.png"
        chromium(tmp_path, f"--screenshot={picture}", "--window-size=1000,1100", url)
    assert "Lundock" in dom
    assert IQN in dom
    assert 'class="command"' in dom
    assert "<script" not in dom
    assert picture.stat().st_size > 20_000
