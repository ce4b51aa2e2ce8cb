"""Claims that start as an image, by URL and digest: fetched, checked and copied by a real target."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.components.control_plane import ControlPlane
from tests.provisioner.stage import Stage, TargetProcess, target_running
from tests.target_image import image_server

pytestmark = pytest.mark.cluster

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "disk.img").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetProcess]:
    """A target that may fetch from this machine: a host that is not public needs its network named too."""
    hosts = ("--image-hosts=127.0.0.1", "--image-hosts=127.0.0.0/8")
    with target_running(tmp_path_factory.mktemp("fetching"), "fetching", *hosts) as target:
        yield target


@pytest.fixture(scope="module")
def images(
    control_plane: ControlPlane, fetching: TargetProcess, tmp_path_factory: pytest.TempPathFactory, url: str
) -> Iterator[Stage]:
    stage = Stage(control_plane.kubeconfig, tmp_path_factory.mktemp("stage"), [fetching])
    stage.config["images"] = {"allowUrls": True, "urlPrefixes": [f"{url}/"]}
    stage.process = stage.provisioner()
    stage.up()
    stage.make_class(f"{stage.id}-urls", {"imageUrls": "allow"})
    yield stage
    stage.down()


def claim(stage: Stage, name: str, image: str, **spec: object) -> None:
    stage.claim(name, "2Mi", notes={"lundock.io/image": image}, storageClassName=f"{stage.id}-urls", **spec)


def test_an_image_by_url_and_digest(images: Stage, fetching: TargetProcess, url: str) -> None:
    claim(images, "disk", f"{url}/disk.img#sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    pv = images.bound("disk")
    file = next(Path(fetching.data_dir).rglob(f"{pv['metadata']['name']}*"))
    assert file.read_bytes()[: len(CONTENT)] == CONTENT


def test_a_read_only_volume_of_an_image(images: Stage, fetching: TargetProcess, url: str) -> None:
    image = f"{url}/disk.img#sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    claim(images, "read-only", image, accessModes=["ReadOnlyMany"])
    pv = images.bound("read-only")
    assert pv["spec"]["iscsi"]["readOnly"] is True
    export = fetching.client.get_export(pv["metadata"]["name"])
    assert export is not None
    assert export.luns[0].read_only


def test_the_image_of_a_class_and_how_far_it_is(images: Stage, fetching: TargetProcess) -> None:
    """A slow server: the claim's events tell of the copy before it is done."""
    with image_server.running() as server:
        hold = threading.Event()
        # An image is made once for each digest: this one is nobody else's.
        content = CONTENT[::-1]
        spec = server.spec("/golden.img", content, hold=hold)
        fetching.client.put_image("golden", spec)
        images.claim("of-class", "2Mi", storageClassName=images.make_class(f"{images.id}-golden", {"image": "golden"}))
        line = images.wait_event("of-class", "is being filled")
        assert line.startswith("Provisioning: Volume pvc-")
        assert "from its image on target fetching: " in line
        claim = images.get_claim("of-class")
        assert claim is not None
        assert claim["status"]["phase"] == "Pending"
        hold.set()
        pv = images.bound("of-class")
    file = next(Path(fetching.data_dir).rglob(f"{pv['metadata']['name']}*"))
    assert file.read_bytes()[: len(content)] == content


def test_a_wrong_digest(images: Stage, url: str) -> None:
    claim(images, "wrong", f"{url}/disk.img#sha256:{'0' * 64}")
    line = images.wait_event("wrong", "ImageFailed")
    assert "sha256" in line
    assert "0" * 64 in line


def test_a_url_that_the_configuration_does_not_allow(images: Stage) -> None:
    claim(images, "elsewhere", f"http://169.254.169.254/latest#sha256:{'0' * 64}")
    assert "is not allowed; allowed are" in images.wait_event("elsewhere", "ImageUrlNotAllowed")
