"""What the engine contract needs of a place to run in: an engine, and initiators that reach it.

The tests here know no engine: they run over every one of `HERE`. Elsewhere (in a guest with a kernel target, say) the
same tests run with another `place` fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from lundock_common.quantity import MIB
from target_image.agent import naming
from target_image.agent.backing import Address
from target_image.agent.engines import BackingLun, Credentials, Engine, EngineName, TargetState, make_engine
from target_image.agent.settings import Settings
from tests.capabilities import need
from tests.target_image.initiator import Login


@dataclass
class Place:
    """An engine that serves, and a folder for its backing files."""

    engine: Engine
    folder: Path
    portal: str
    tids: Iterator[int] = field(default_factory=lambda: iter(range(700001, 800000)))

    def lun(self, name: str, number: int = 1, *, size_mib: int = 16, read_only: bool = False) -> BackingLun:
        path = self.folder / f"{name}.raw"
        if not path.exists():
            path.touch()
        with path.open("r+b") as file:
            file.truncate(size_mib * MIB)
        return BackingLun(
            lun=number,
            address=Address.of_file(path),
            size_bytes=size_mib * MIB,
            read_only=read_only,
            thin=True,
            serial=naming.serial(name),
            wwn=naming.wwn(name),
            product_id=naming.PRODUCT_ID,
        )

    def target(
        self,
        name: str,
        *luns: BackingLun,
        chap: Credentials | None = None,
        initiators: tuple[str, ...] = (),
        networks: tuple[str, ...] = (),
    ) -> TargetState:
        return TargetState(
            tid=next(self.tids),
            shard=0,
            iqn=f"iqn.2026-11.test:{name}",
            luns=luns or (self.lun(name),),
            initiators=initiators,
            networks=networks,
            chap=chap,
        )

    def login(self, target: TargetState, chap: Credentials | None = None, **more: str) -> Login:
        user, password = (None, None) if chap is None else (chap.username, chap.password)
        return Login(self.portal, target.iqn, user, password, **more)


HERE: dict[EngineName, tuple[str, ...]] = {"tgt": ("tgtd",)}
"""Engines that are processes of their own, and what they need: the contract runs over them on any machine."""
ELSEWHERE: dict[EngineName, str] = {"lio": "tests/guest/inside"}
"""Engines that need a machine of their own: the folder in whose `place` the contract runs over them."""


@pytest.fixture(params=HERE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    need(*HERE[request.param], "iscsi-ls", "qemu-iscsi")
    port = free_ports()
    engine = make_engine(
        Settings(run_dir=tmp_path / "run", engine=request.param, iscsi_addresses=("127.0.0.1",), iscsi_port=port)
    )
    engine.start()
    try:
        engine.open()
        yield Place(engine, tmp_path, f"127.0.0.1:{port}")
    finally:
        engine.stop()
