"""Fetching images while the container is built."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from target_image.agent.errors import ImageFailed, SettingsError
from target_image.agent.images.bundle import bundle
from target_image.agent.images.catalogue import Entry
from target_image.api.requests import ImageSpec
from tests.target_image import image_server

BODY = b"an image" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


def test_an_image_lies_under_its_digest(tmp_path: Path) -> None:
    with image_server.running() as server:
        spec = ImageSpec(urls=[server.add("/a.img", BODY)], digest=f"sha256:{SHA256}")
        bundle(tmp_path, ["alpine"], {"alpine": Entry("alpine", "Alpine", spec)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {f"sha256-{SHA256}": BODY}


def test_one_that_cannot_be_had_fails_the_build(tmp_path: Path) -> None:
    spec = ImageSpec(urls=["http://127.0.0.1:1/a.img"], digest=f"sha256:{SHA256}")
    with pytest.raises(ImageFailed, match=r"http://127\.0\.0\.1:1/"):
        bundle(tmp_path, ["alpine"], {"alpine": Entry("alpine", "Alpine", spec)})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="debian"):
        bundle(tmp_path, ["debian"], {})
