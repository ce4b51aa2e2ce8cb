"""The life of images: fetched once per digest, verified, converted, kept; nothing half done after a kill."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent import translate
from target_image.agent.errors import (
    IdentityConflict,
    ImageFailed,
    Invalid,
    NotFound,
    SettingsError,
    UnknownImage,
)
from target_image.agent.images import catalogue
from target_image.agent.images.library import Images
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.api import fields, requests, responses
from tests.capabilities import need
from tests.target_image.image_server import ImageServer
from tests.target_image.images.conftest import DEMO_DISK, DISK, ROOM, MakeImages, settled
from tests.waiting import eventually


def qcow2(tmp_path: Path, data: bytes) -> bytes:
    need("qemu-img")
    (tmp_path / "raw").write_bytes(data)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(tmp_path / "raw"), str(tmp_path / "qcow2")]
    subprocess.run(argv, check=True, timeout=60)
    return (tmp_path / "qcow2").read_bytes()


@pytest.mark.parametrize("path", ["/a.img", "/a.img.gz", "/a.img.xz", "/a.qcow2", "/a.qcow2.gz", "/a.iso"])
def test_every_format_becomes_the_same_sparse_disk(
    server: ImageServer, images: Images, tmp_path: Path, path: str
) -> None:
    content, format = DISK, "raw"
    if ".qcow2" in path:
        content, format = qcow2(tmp_path, DISK), "qcow2"
    if ".iso" in path:
        format = "iso"
    if path.endswith(".gz"):
        content = gzip.compress(content)
    if path.endswith(".xz"):
        content = lzma.compress(content)
    told = images.put("a", server.spec(path, content, format))
    assert told.phase in (fields.Phase.WORKING, fields.Phase.READY)
    assert settled(images, "a") == responses.Image(
        name="a", spec=told.spec, phase=fields.Phase.READY, virtual_size_bytes=len(DISK)
    )
    ready = images.find_or_start_fetch("a")
    assert ready is not None
    assert ready.path.read_bytes() == DISK
    assert not ready.stand_in
    if path not in ("/a.img", "/a.iso"):  # what is served raw is kept as it came
        assert ready.path.stat().st_blocks * 512 < MIB


def test_asking_again_fetches_nothing_again(server: ImageServer, images: Images) -> None:
    wanted = server.spec("/a.img", DISK)
    images.put("a", wanted)
    settled(images, "a")
    assert images.put("a", wanted).phase is fields.Phase.READY
    assert len(server.requests) == 1


def test_one_download_however_many_ask(server: ImageServer, images: Images) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    names = [f"name-{number}" for number in range(5)]
    for name in names:
        images.put(name, wanted)
    threads = [threading.Thread(target=images.find_or_start_fetch, args=(name,)) for name in names for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {images.get(name).phase for name in names} == {fields.Phase.WORKING}
    hold.set()
    assert {settled(images, name).phase for name in names} == {fields.Phase.READY}
    assert len(server.requests) == 1


def test_progress_is_told(server: ImageServer, images: Images) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    images.put("a", wanted)
    eventually(lambda: 0 < images.get("a").bytes_done < len(DISK), "half of it is there")
    assert images.get("a").bytes_total == len(DISK)
    assert images.find_or_start_fetch("a") is None
    hold.set()
    assert settled(images, "a").phase is fields.Phase.READY


def test_a_wrong_digest_fails_and_leaves_nothing(server: ImageServer, images: Images, settings: Settings) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].body = DISK[:-1] + b"!"
    images.put("a", wanted)
    failed = settled(images, "a")
    assert failed.phase is fields.Phase.FAILED
    assert failed.condition is not None
    assert "digest" in failed.condition.detail
    assert list(settings.images_dir.iterdir()) == []
    with pytest.raises(ImageFailed, match="digest"):
        images.find_or_start_fetch("a")
    assert len(server.requests) == 1


def test_a_failure_is_tried_again_later(server: ImageServer, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].status = 503
    images.put("a", wanted)
    assert settled(images, "a").phase is fields.Phase.FAILED
    server.files["/a.img"].status = 200
    monkeypatch.setattr("target_image.agent.images.library.RETRY_AFTER_S", 0.0)
    assert images.find_or_start_fetch("a") is None
    assert settled(images, "a").phase is fields.Phase.READY


def test_a_bomb_fails_and_leaves_nothing(server: ImageServer, make_images: MakeImages, settings: Settings) -> None:
    images = make_images(image_max_bytes=2 * MIB)
    images.put("a", server.spec("/a.img.gz", gzip.compress(DISK)))
    failed = settled(images, "a")
    assert failed.condition is not None
    assert "--image-max-bytes" in failed.condition.detail
    assert not list(settings.images_dir.glob("*.raw"))
    assert not list(settings.images_dir.glob("*.work*"))


def test_the_rest_of_a_kill_is_cleared_or_gone_on_with(
    server: ImageServer, make_images: MakeImages, settings: Settings, ledger: Ledger
) -> None:
    wanted = server.spec("/a.img", DISK)
    ledger.put_image("a", translate.image_spec_to_row(wanted))
    settings.images_dir.mkdir(parents=True)
    key = f"{wanted.digest.replace(':', '-')}-raw"
    (settings.images_dir / f"{key}.partial").write_bytes(DISK[:100_000])
    (settings.images_dir / f"{key}.work-raw").write_bytes(DISK[:200_000])
    images = make_images()
    assert settled(images, "a").phase is fields.Phase.READY
    assert server.requests == [("/a.img", "bytes=100000-")]
    assert [path.name for path in settings.images_dir.iterdir()] == [f"{key}.raw"]


KILLED = """
import sys, time
from pathlib import Path
from target_image.api import requests
from target_image.agent.images.library import Images
from target_image.agent.state.ledger import Ledger
from target_image.agent.settings import Settings
settings = Settings(data_dir=Path(sys.argv[1]), share_dir=Path(sys.argv[2]), image_hosts=("127.0.0.0/8",))
images = Images(settings, Ledger(settings.ledger_file), room=lambda: 2**40, known={})
images.start()
images.put("a", requests.ImageSpec.model_validate_json(sys.argv[3]))
time.sleep(60)
"""


def test_kill_dash_nine_in_the_middle_of_a_download(server: ImageServer, settings: Settings, tmp_path: Path) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    arguments = [str(settings.data_dir), str(settings.share_dir), wanted.model_dump_json()]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.DEVNULL)
    try:
        parts = settings.images_dir.glob
        eventually(lambda: sum(part.stat().st_size for part in parts("*.partial")) > MIB, "a part is there")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        hold.set()
    assert not list(settings.images_dir.glob("*.raw"))
    ledger = Ledger(settings.ledger_file)
    images = Images(settings, ledger, room=lambda: ROOM, known={})
    try:
        images.start()
        assert settled(images, "a").phase is fields.Phase.READY
        ready = images.find_or_start_fetch("a")
        assert ready is not None
        assert ready.path.read_bytes() == DISK
        assert server.requests[-1][1] != ""
    finally:
        images.stop()
        ledger.close()


def test_the_demo_disk_is_always_there(images: Images) -> None:
    assert images.get("demo").spec is None
    assert images.find_or_start_fetch("demo") is None
    assert settled(images, "demo").phase is fields.Phase.READY
    ready = images.find_or_start_fetch("demo")
    assert ready is not None
    assert ready.path.read_bytes() == DEMO_DISK
    with pytest.raises(Invalid):
        images.delete("demo")


def test_a_new_demo_disk_replaces_the_old_one(images: Images, settings: Settings) -> None:
    images.find_or_start_fetch("demo")
    settled(images, "demo")
    (settings.share_dir / "demo.img.gz").write_bytes(gzip.compress(b"newer".ljust(MIB, b"\0")))
    os.utime(settings.share_dir / "demo.img.gz", ns=(1, 1))
    eventually(lambda: images.find_or_start_fetch("demo") is not None, "the new one is there")
    ready = images.find_or_start_fetch("demo")
    assert ready is not None
    assert ready.path.read_bytes().startswith(b"newer")


def test_the_demo_disk_stands_in(server: ImageServer, make_images: MakeImages) -> None:
    wanted = server.spec("/gone.img", DISK)
    del server.files["/gone.img"]
    images = make_images(known={"alpine": catalogue.Entry("alpine", "Alpine", wanted)})
    assert images.find_or_start_fetch("alpine") is None
    assert settled(images, "alpine").phase is fields.Phase.FAILED
    images.stand_in("alpine")
    eventually(lambda: images.find_or_start_fetch("alpine") is not None, "the demo disk is ready")
    ready = images.find_or_start_fetch("alpine")
    assert ready is not None
    assert ready.stand_in
    assert ready.path.read_bytes() == DEMO_DISK
    assert images.get("alpine").stand_in


def test_what_the_container_carries_is_not_fetched(
    server: ImageServer, make_images: MakeImages, settings: Settings
) -> None:
    wanted = server.spec("/a.img", DISK)
    (settings.share_dir / "images").mkdir()
    (settings.share_dir / "images" / wanted.digest.replace(":", "-")).write_bytes(DISK)
    images = make_images(known={"alpine": catalogue.Entry("alpine", "Alpine", wanted)})
    images.find_or_start_fetch("alpine")
    assert settled(images, "alpine").phase is fields.Phase.READY
    assert server.requests == []


def test_an_unknown_image_names_those_there_are(images: Images) -> None:
    with pytest.raises(UnknownImage, match="this target has: demo"):
        images.find_or_start_fetch("nothing")
    with pytest.raises(NotFound):
        images.get("nothing")


def test_without_a_demo_disk_the_rest_still_works(images: Images, settings: Settings) -> None:
    (settings.share_dir / "demo.img.gz").unlink()
    assert images.list() == []
    with pytest.raises(UnknownImage, match="build it with"):
        images.find_or_start_fetch("demo")


def test_another_spec_under_the_same_name_is_a_conflict(server: ImageServer, make_images: MakeImages) -> None:
    first, second = server.spec("/a.img", DISK), server.spec("/b.img", DISK[:MIB])
    images = make_images(known={"alpine": catalogue.Entry("alpine", "Alpine", first)})
    images.put("a", first)
    for name in ("a", "alpine", "demo"):
        with pytest.raises(IdentityConflict):
            images.put(name, second)
    assert images.put("alpine", first).name == "alpine"
    settled(images, "a")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://elsewhere.example.org/a.img", "--image-hosts"),
        ("http://169.254.169.254/a.img", "--image-hosts"),
        ("file:///etc/shadow", "http or https"),
        ("http://[127.0.0.1/a.img", "cannot be read"),
        ("http://127.0.0.1:port/a.img", "cannot be read"),
    ],
)
def test_a_url_beyond_the_list_is_refused_at_once(images: Images, ledger: Ledger, url: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        images.put("a", requests.ImageSpec(urls=[url], digest="sha256:" + "0" * 64))
    assert ledger.images() == {}


def test_differently_packed_mirrors_are_refused(server: ImageServer, images: Images) -> None:
    urls = [server.url("/a.img"), server.url("/a.img.gz")]
    with pytest.raises(Invalid, match="differently packed"):
        images.put("a", requests.ImageSpec(urls=urls, digest="sha256:" + "0" * 64))


def test_two_specs_under_one_name_at_once_are_not_both_taken(server: ImageServer, images: Images) -> None:
    specs = [server.spec(f"/{number}.img", DISK[: (number + 1) * 1000]) for number in range(8)]
    together, taken = threading.Barrier(len(specs)), []

    def put(spec: requests.ImageSpec) -> None:
        together.wait()
        with contextlib.suppress(IdentityConflict):
            images.put("a", spec)
            taken.append(spec)

    threads = [threading.Thread(target=put, args=(spec,)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = settled(images, "a").spec
    assert kept is not None
    assert [spec.model_dump(mode="json") for spec in taken] == [kept.model_dump(mode="json")]


@pytest.mark.parametrize("path", ["/a.img", "/a.img.gz", "/a.qcow2"])
def test_an_image_takes_no_space_that_is_promised(
    server: ImageServer, make_images: MakeImages, settings: Settings, tmp_path: Path, path: str
) -> None:
    """At each step: what it takes for itself would be missing when volumes are written."""
    monotone = b"\1" * (40 * MIB)
    packed = {"/a.img": lambda: monotone, "/a.img.gz": lambda: gzip.compress(monotone)}
    content = packed.get(path, lambda: qcow2(tmp_path, monotone))()

    def room() -> int:  # as a volume would see it: what is there of the image is missing
        there = sum(file.stat().st_blocks * 512 for file in settings.images_dir.glob("*") if file.exists())
        return 20 * MIB - there

    images = make_images(room=room)
    images.put("a", server.spec(path, content, "qcow2" if path == "/a.qcow2" else "raw"))
    failed = settled(images, "a")
    assert failed.condition is not None
    assert "no room" in failed.condition.detail
    assert not list(settings.images_dir.glob("*.raw"))
    assert not list(settings.images_dir.glob("*.work*"))


def test_a_mistake_in_image_hosts_is_told(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(SettingsError, match="--image-hosts"):
        Images(settings.model_copy(update={"image_hosts": ("10.0.0.1/8",)}), ledger, room=lambda: ROOM, known={})


def test_stop_does_not_wait_for_a_slow_server(server: ImageServer, images: Images) -> None:
    wanted = server.spec("/a.img", DISK)
    server.files["/a.img"].hold = hold = threading.Event()
    images.put("a", wanted)
    eventually(lambda: images.get("a").bytes_done > 0, "it is being fetched")
    images.stop()
    assert [thread for thread in threading.enumerate() if thread.name == "image a" and not thread.daemon] == []
    hold.set()
    eventually(lambda: "image a" not in [thread.name for thread in threading.enumerate()], "its worker ends")
    assert images.get("a").phase is fields.Phase.WORKING
