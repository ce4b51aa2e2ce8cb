"""An image cache of its own for each test, and a server to fetch from. For the tests of images."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.images import catalogue
from target_image.agent.images.library import Images
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.api import fields, responses
from tests.target_image import image_server
from tests.target_image.image_server import ImageServer
from tests.waiting import eventually

DISK = random.Random(3).randbytes(300_000) + bytes(4 * MIB - 300_000)  # noqa: S311 - any bytes will do
ROOM = 2**40
DEMO_DISK = b"demo disk".ljust(MIB, b"\0")


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server.running() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "demo.img.gz").write_bytes(gzip.compress(DEMO_DISK))
    return Settings(
        data_dir=tmp_path / "data", share_dir=tmp_path / "share", image_hosts=("127.0.0.0/8",), image_timeout_s=5.0
    )


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings.ledger_file)
    yield ledger
    ledger.close()


MakeImages = Callable[..., Images]


@pytest.fixture
def make_images(settings: Settings, ledger: Ledger) -> Iterator[MakeImages]:
    made: list[Images] = []

    def make(
        known: dict[str, catalogue.Entry] | None = None, room: Callable[[], int] = lambda: ROOM, **changes: object
    ) -> Images:
        changed = settings.model_copy(update=changes)
        images = Images(changed, ledger, room=room, known=known or {})
        images.start()
        made.append(images)
        return images

    yield make
    for images in made:
        images.stop()


@pytest.fixture
def images(make_images: MakeImages) -> Images:
    return make_images()


def settled(images: Images, name: str) -> responses.Image:
    eventually(lambda: images.get(name).phase in (fields.Phase.READY, fields.Phase.FAILED), f"image {name} is settled")
    return images.get(name)
