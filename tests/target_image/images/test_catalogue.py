"""The catalogue's file, and images that the environment names."""

from __future__ import annotations

from pathlib import Path

import pytest

from target_image.agent.errors import SettingsError
from target_image.agent.images import catalogue
from target_image.api.fields import ImageFormat

DIGEST = "sha256:" + "a" * 64


def test_the_packages_own_catalogue() -> None:
    amd64 = catalogue.load(architecture="amd64")
    assert set(amd64) == {"alpine", "cirros"}
    for entry in amd64.values():
        assert entry.spec.format is ImageFormat.QCOW2
        assert entry.spec.licence
        assert all(url.startswith("https://") for url in entry.spec.urls)
    arm64 = catalogue.load(architecture="arm64")
    assert arm64["cirros"].spec.digest != amd64["cirros"].spec.digest


@pytest.mark.parametrize(
    "content", ["", "images: [a]", "images: {a: {}}", "{", "images: {a: {title: t, licence: l, builds: {amd64: {}}}}"]
)
def test_a_file_that_is_no_catalogue(tmp_path: Path, content: str) -> None:
    (tmp_path / "images.yaml").write_text(content)
    with pytest.raises(SettingsError, match="cannot be read as a catalogue"):
        catalogue.load(tmp_path / "images.yaml", "amd64")


@pytest.mark.parametrize(
    ("url", "format"),
    [
        ("https://x/a.qcow2", ImageFormat.QCOW2),
        ("https://x/a.QCOW2.xz", ImageFormat.QCOW2),
        ("https://x/a.iso?token=1", ImageFormat.ISO),
        ("https://x/a.img", ImageFormat.RAW),
        ("https://x/a.raw.gz", ImageFormat.RAW),
        ("https://x/a", ImageFormat.RAW),
    ],
)
def test_an_image_of_the_environment(url: str, format: ImageFormat) -> None:
    spec = catalogue.from_url(f"{url}#{DIGEST}")
    assert (spec.urls, spec.digest, spec.format) == ([url], DIGEST, format)


@pytest.mark.parametrize(
    "text", ["https://x/a.img", "https://x/a.img#", "https://x/a.img#sha256:12", "https://x/a.img#md5:" + "a" * 32]
)
def test_an_image_without_a_digest_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="url#sha256"):
        catalogue.from_url(text)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="it has: alpine, cirros"):
        catalogue.find(catalogue.load(architecture="amd64"), "debian")


def test_its_hosts() -> None:
    found = catalogue.hosts(catalogue.load(architecture="amd64"))
    assert found == {"dl-cdn.alpinelinux.org", "download.cirros-cloud.net"}


def test_a_url_with_credentials_is_refused_and_not_told() -> None:
    """They would stand in GET /v1/images, on the page and in the log."""
    with pytest.raises(SettingsError, match="carries credentials") as raised:
        catalogue.from_url(f"https://anna:sesame@x.example.org/a.img#{DIGEST}")
    assert "sesame" not in raised.value.detail
    with pytest.raises(SettingsError, match="no digest") as raised:
        catalogue.from_url("https://x.example.org/a.img?signature=sesame")
    assert "sesame" not in raised.value.detail


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        catalogue.from_url(f"https://[x/a.img#{DIGEST}")
