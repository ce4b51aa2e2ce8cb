"""Today's agent opens the ledgers that recorded commits left, and serves what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from lundock_common.quantity import MIB
from target_image.agent.state.ledger import Ledger
from tests.target_image import recorded
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent

FOLDERS = pytest.mark.parametrize("folder", recorded.FOLDERS, ids=lambda folder: folder.name)

OF_THE_DISK = {"allocated_bytes", "bytes_done", "bytes_total", "portals", "sessions", "condition", "phase"}
"""What is not promised but found: left out where another machine's answers are compared."""


@FOLDERS
def test_every_row_is_read(folder: Path, tmp_path: Path) -> None:
    recorded.write_ledger(folder, tmp_path / "ledger.sqlite")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    volumes, exports, images = ledger.volumes(), ledger.exports(), ledger.images()
    ledger.close()
    assert [record.id for record in volumes] == [
        each["id"] for each in recorded.answered(folder, "/v1/volumes")["items"]
    ]
    assert [record.id for record in exports] == [
        each["id"] for each in recorded.answered(folder, "/v1/exports")["items"]
    ]
    assert {"mine", "broken", "slow", "late"} == set(images)
    assert {record.source.type for record in volumes} == {"none", "image", "volume"}
    assert {record.state for record in volumes} == {"ready", "making", "failed"}
    assert [record.chap is not None for record in exports if record.id in ("chap", "mutual")] == [True, True]


@FOLDERS
@pytest.mark.integration
def test_the_agent_serves_what_an_earlier_one_promised(folder: Path, make_agent: MakeAgent, tmp_path: Path) -> None:
    agent = make_agent()
    disks = tmp_path / "disks"
    recorded.write_ledger(folder, agent.data / "ledger.sqlite", disks)
    volumes = {each["id"]: each for each in recorded.answered(folder, "/v1/volumes")["items"]}
    _make_files(agent.data, disks, volumes)
    agent.start()
    now_volumes = {each["id"]: each for each in _get(agent, "/v1/volumes")}
    now_exports = {each["id"]: each for each in _get(agent, "/v1/exports")}
    images = {each["name"]: each for each in _get(agent, "/v1/images")}
    assert _promised(now_volumes) == _promised(volumes)
    exports = {each["id"]: each for each in recorded.answered(folder, "/v1/exports")["items"]}
    assert _promised(now_exports) == _promised(exports)
    assert {id: each["phase"] for id, each in now_exports.items()} == {id: e["phase"] for id, e in exports.items()}
    assert all(set(now_volumes[id]) == set(volume) for id, volume in volumes.items())
    assert all(set(now_exports[id]) == set(export) for id, export in exports.items())
    for image in recorded.answered(folder, "/v1/images")["items"]:
        if image["name"] in ("mine", "broken", "slow", "late"):
            assert images[image["name"]]["spec"] == image["spec"]


def _get(agent: AgentProcess, path: str) -> list[dict[str, Any]]:
    """The items as they are sent: the client would leave out what it does not know."""
    answer = requests.get(f"{agent.url}{path}", timeout=30)
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def _promised(items: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {id: {name: value for name, value in item.items() if name not in OF_THE_DISK} for id, item in items.items()}


def _make_files(data: Path, disks: Path, volumes: dict[str, dict[str, Any]]) -> None:
    """The volumes' files as they were: sparse, without their content."""
    (data / "trash").mkdir(parents=True)
    (data / "volumes").mkdir()
    disks.mkdir()
    files = {disks / "disk.img": 4 * MIB}
    for id, volume in volumes.items():
        if volume["phase"] == "ready" and id != "lost" and "-host-" not in id:
            folder = data / ("volumes" if volume["trashed_at"] is None else "trash")
            files[folder / f"{id}.raw"] = volume["size_bytes"]
    for path, size_bytes in files.items():
        with path.open("wb") as file:
            file.truncate(size_bytes)
