"""The place of the engine contract in the guest: LIO instead of tgt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from target_image.agent.engines import make_engine
from target_image.agent.settings import Settings
from tests.target_image.contract.conftest import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    port = free_ports()
    engine = make_engine(Settings(engine="lio", iscsi_addresses=("127.0.0.1",), iscsi_port=port))
    engine.start()
    try:
        engine.open()
        yield Place(engine, tmp_path, f"127.0.0.1:{port}")
    finally:
        engine.stop()
