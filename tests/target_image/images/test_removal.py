"""Which images may be removed, by whom, and what their removal leaves."""

from __future__ import annotations

import threading

import pytest

from lundock_common.quantity import MIB
from target_image.agent.errors import (
    NotReady,
    UnknownImage,
)
from target_image.agent.images import catalogue
from target_image.agent.images.library import Images
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger, now
from target_image.agent.state.rows import ImageSource, VolumeRecord
from target_image.api import fields
from tests.target_image.image_server import ImageServer
from tests.target_image.images.conftest import DISK, MakeImages, settled
from tests.waiting import eventually


def test_a_deleted_image_frees_its_space(server: ImageServer, images: Images, settings: Settings) -> None:
    wanted = server.spec("/a.img", DISK)
    for name in ("a", "b"):
        images.put(name, wanted)
        settled(images, name)
    images.delete("a")
    assert images.get("b").phase is fields.Phase.READY
    images.delete("b")
    images.delete("b")
    assert list(settings.images_dir.iterdir()) == []
    with pytest.raises(UnknownImage):
        images.find_or_start_fetch("b")


def test_an_image_deleted_while_it_is_fetched_leaves_nothing(
    server: ImageServer, images: Images, settings: Settings
) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    images.put("a", wanted)
    eventually(lambda: images.get("a").bytes_done > 0, "it is being fetched")
    images.delete("a")
    hold.set()
    eventually(lambda: list(settings.images_dir.iterdir()) == [], "its files are gone")


def test_a_catalogues_image_deleted_while_it_is_fetched_leaves_nothing(
    server: ImageServer, make_images: MakeImages, settings: Settings
) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    images = make_images(known={"alpine": catalogue.Entry("alpine", "Alpine", wanted)})
    images.find_or_start_fetch("alpine")
    eventually(lambda: images.get("alpine").bytes_done > 0, "it is being fetched")
    images.delete("alpine")
    hold.set()
    eventually(lambda: list(settings.images_dir.iterdir()) == [], "its files are gone")
    assert images.get("alpine").phase is fields.Phase.PENDING


def test_an_image_wanted_again_while_it_is_fetched_is_kept(server: ImageServer, images: Images) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    images.put("a", wanted)
    eventually(lambda: images.get("a").bytes_done > 0, "it is being fetched")
    images.delete("a")
    images.put("a", wanted)
    hold.set()
    assert settled(images, "a").phase is fields.Phase.READY
    assert len(server.requests) == 1


def test_names_of_one_file_keep_it_for_each_other(server: ImageServer, make_images: MakeImages, ledger: Ledger) -> None:
    wanted = server.spec("/a.img", DISK)
    images = make_images(known={"alpine": catalogue.Entry("alpine", "Alpine", wanted)})
    images.put("a", wanted)
    settled(images, "a")
    ledger.add_volume(VolumeRecord("v", MIB, ImageSource(image="alpine"), None, True, now(), state="making"))
    with pytest.raises(NotReady, match="v is still being filled"):
        images.delete("a")
    ledger.forget_volume("v")
    images.delete("a")
    assert images.get("alpine").phase is fields.Phase.READY


def test_files_that_no_name_leads_to_are_deleted_at_start(
    server: ImageServer, make_images: MakeImages, settings: Settings
) -> None:
    """What an older catalogue, an older demo disk or other IMAGES left would otherwise stay for ever."""
    wanted = server.spec("/a.img", DISK)
    images = make_images()
    images.put("a", wanted)
    settled(images, "a")
    images.find_or_start_fetch("demo")
    settled(images, "demo")
    kept = {path.name for path in settings.images_dir.iterdir()}
    assert len(kept) == 2
    for name in ("demo-0123456789abcdef.raw", "sha256-00-qcow2.raw", "sha256-00-qcow2.partial"):
        (settings.images_dir / name).write_bytes(b"old")
    images.stop()
    make_images()
    assert {path.name for path in settings.images_dir.iterdir()} == kept


def test_an_image_that_a_volume_waits_for_stays(server: ImageServer, images: Images, ledger: Ledger) -> None:
    images.put("a", server.spec("/a.img", DISK))
    settled(images, "a")
    source = ImageSource(image="a")
    ledger.add_volume(VolumeRecord("v", MIB, source, None, True, now(), state="making"))
    with pytest.raises(NotReady, match="v is still being filled"):
        images.delete("a")
    ledger.forget_volume("v")
    images.delete("a")
