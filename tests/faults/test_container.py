"""The target's container is killed at random moments while an initiator writes to it, as an out-of-memory kill does."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from functools import partial

import pytest

from cluster.components import images
from cluster.machine.ports import free_ports
from target_image.api.client import TargetClient, TargetError
from target_image.api.requests import ExportSpec, Lun, VolumeSpec
from tests.capabilities import need
from tests.docker import docker
from tests.faults.tools.disks import Disk, Written
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

MIB = 2**20


class Container:
    """The shipped image on loopback ports of this host, with its data in a volume of Docker's."""

    def __init__(self) -> None:
        self.name = f"lundock-faults-{uuid.uuid4().hex[:8]}"
        first = free_ports(4)
        names = ("ISCSI_PORT", "API_PORT", "PAGE_PORT", "METRICS_PORT")
        settings = {name: str(first + number) for number, name in enumerate(names)}
        settings |= {"ISCSI_ADDRESSES": "127.0.0.1", "PAGE_ADDRESS": "127.0.0.1", "METRICS_ADDRESS": "127.0.0.1"}
        environment = [word for key, value in settings.items() for word in ("-e", f"LUNDOCK_{key}={value}")]
        self.portal = f"127.0.0.1:{first}"
        self.client = TargetClient(f"http://127.0.0.1:{first + 1}", timeout_s=30)
        where = ("--network", "host", "-v", f"{self.name}:/var/lib/lundock")
        docker("run", "-d", "--name", self.name, *where, *environment, "lundock/target", "serve")

    def serves(self, name: str) -> bool:
        try:
            found = self.client.get_export(name)
        except TargetError:
            return False
        return found is not None and found.phase == "ready"

    def is_up(self) -> bool:
        try:
            return bool(self.client.capabilities())
        except TargetError:
            return False

    def kill(self) -> None:
        docker("kill", "--signal", "KILL", self.name)

    def start(self) -> None:
        docker("start", self.name)

    def remove(self) -> None:
        docker("rm", "-f", self.name)
        docker("volume", "rm", self.name)


@pytest.fixture
def container() -> Iterator[Container]:
    need("docker", "root", "qemu-iscsi")
    images.build("lundock/target", print)
    container = Container()
    yield container
    container.remove()


def test_kill_9_of_the_container_under_writes(container: Container, rounds: int, dice: random.Random) -> None:
    eventually(container.is_up, "the agent's API")
    container.client.ensure_volume("disk", VolumeSpec(size_bytes=16 * MIB))
    made = container.client.ensure_export("disk", ExportSpec(luns=[Lun(lun=1, volume="disk")]))
    disk, written, stopped = Disk(container.portal, made.iqn), Written(), threading.Event()

    def write() -> None:
        number = 0
        while not stopped.is_set():
            written.write(disk, number % 200, number % 255 + 1, timeout_s=30)
            number += 1

    def has_written(before: int) -> bool:
        return len(written.acknowledged) > before or before == 200  # then each block has been written

    for _ in range(max(2, rounds // 4)):
        stopped.clear()
        writer = threading.Thread(target=write)
        writer.start()
        eventually(partial(has_written, len(written.acknowledged)), "a write", 60)
        stopped.wait(dice.uniform(0, 1))  # the moment of the kill is what is random here
        container.kill()
        stopped.set()
        container.start()
        writer.join()
        eventually(lambda: container.serves("disk"), "the export to be back")
        written.verify(disk)
    assert written.acknowledged
