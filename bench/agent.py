"""The agent as a process of this machine, without a container: what start and scale start, stop and count."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import SecretStr

from bench.processes import family, started
from bench.servers import answers, wait_until
from cluster.machine import shell
from cluster.machine.ports import free_ports
from target_image.api.client import TargetClient
from target_image.api.requests import Chap, ExportSpec, Lun, VolumeSpec
from target_image.api.responses import Export

SHARDS = 4
"""As the chart has it."""
VOLUME_BYTES = 64 * 2**20
PASSWORD = "not-a-secret-at-all"  # noqa: S105


@dataclass
class Agent:
    """One agent and its ports, kept from start to start; its data is in `folder`."""

    folder: Path
    shards: int = SHARDS
    api_port: int = field(default_factory=free_ports)
    iscsi_port: int = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.iscsi_port = free_ports(self.shards)
        self._portals: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @contextmanager
    def running(self) -> Iterator[Agent]:
        """Started, its API answering; stopped afterwards."""
        settings = {
            "data-dir": self.folder / "data",
            "run-dir": self.folder / "run",
            "api-port": self.api_port,
            "iscsi-port": self.iscsi_port,
            "iscsi-addresses": "127.0.0.1",
            "shards": self.shards,
            "page-port": free_ports(),
            "metrics-port": free_ports(),
            "overcommit-ratio": 1000,
            "delete-grace-s": 0,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        serve = [str(Path(sys.executable).with_name("lundock-target")), "serve", *options]
        with started("agent", serve, self.folder) as self.process:
            wait_until(lambda: answers(self.api_port), "the agent's start")
            yield self

    def client(self) -> TargetClient:
        return TargetClient(self.url, timeout_s=60)

    def iscsi_url(self, name: str) -> str:
        """Of an export that fill() has made."""
        return f"iscsi://{name}%{PASSWORD}@{self._portals[name]}/iqn.2026-11.io.lundock:{name}/1"

    def daemons(self, name: str = "") -> list[psutil.Process]:
        """Its tgtd processes, or the one that serves this export."""
        portal = f"portal={self._portals[name] if name else ''}"
        children = family(self.process.pid)[1:]
        return [child for child in children if any(portal in word for word in child.cmdline())]

    def serves(self, name: str) -> bool:
        """Whether a login to the export succeeds and its disk answers."""
        return shell.succeeds("iscsi-readcapacity16", self.iscsi_url(name), timeout_s=30)

    def fill(self, first: int, end: int) -> None:
        """Make exports n<first> to n<end-1>, each with an empty volume."""
        with ThreadPoolExecutor(8) as pool:
            for made in pool.map(lambda number: create(self.client(), f"n{number}"), range(first, end)):
                self._portals[made.id] = made.portals[0]


def create(client: TargetClient, name: str) -> Export:
    """A volume and its export with CHAP, as the provisioner makes them."""
    client.ensure_volume(name, VolumeSpec(size_bytes=VOLUME_BYTES))
    chap = Chap(username=name, password=SecretStr(PASSWORD))
    return client.ensure_export(name, ExportSpec(luns=[Lun(lun=1, volume=name)], chap=chap))


def delete(client: TargetClient, name: str) -> None:
    client.delete_export(name)
    client.delete_volume(name)
