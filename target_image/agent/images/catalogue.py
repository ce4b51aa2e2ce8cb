"""The images that a target knows from its start: the catalogue's file and what the environment adds."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from target_image.agent.errors import SettingsError
from target_image.agent.images.allowlist import Everywhere, Refused, shown
from target_image.api import fields, requests

CATALOGUE_FILE = Path(__file__).parents[2] / "images.yaml"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Entry:
    """One image of the catalogue, for this machine's architecture."""

    name: str
    title: str
    spec: requests.ImageSpec


def load(path: Path = CATALOGUE_FILE, architecture: str | None = None) -> dict[str, Entry]:
    """The catalogue's images that exist for an architecture.

    Args:
        path: the catalogue.
        architecture: Debian's name of it; None is this machine's.

    Raises:
        SettingsError: the file cannot be read, or is not a catalogue.
    """
    architecture = architecture or _ARCHITECTURES.get(platform.machine(), platform.machine())
    entries: dict[str, Entry] = {}
    try:
        for name, image in yaml.safe_load(path.read_text(encoding="utf-8"))["images"].items():
            build = image["builds"].get(architecture)
            if build is not None:
                spec = requests.ImageSpec(**build, licence=image["licence"])
                entries[name] = Entry(name, image["title"], spec)
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError, ValidationError) as error:
        raise SettingsError(f"{path} cannot be read as a catalogue of images: {error}") from error
    return entries


def find(entries: Mapping[str, Entry], name: str) -> Entry:
    """The image of this name.

    Raises:
        SettingsError: there is none; says which names there are.
    """
    if name not in entries:
        known = ", ".join(sorted(entries))
        raise SettingsError(f"the catalogue has no image {name!r} for this architecture; it has: {known}")
    return entries[name]


def hosts(entries: Mapping[str, Entry]) -> set[str]:
    """The hosts that the catalogue's URLs name."""
    return {urlsplit(url).hostname or "" for entry in entries.values() for url in entry.spec.urls}


def from_url(text: str) -> requests.ImageSpec:
    """`url#sha256:digest` as an image. Its format is a guess, which its content settles later.

    Raises:
        SettingsError: the URL cannot be used, or has no usable digest.
    """
    url, hash_mark, digest = text.partition("#")
    try:
        Everywhere().check_url(url)
    except Refused as error:
        raise SettingsError(f"IMAGES names a URL that cannot be used: {error}") from error
    if not hash_mark:
        raise SettingsError(f"the image {shown(url)} has no digest: write it as url#sha256:<64 hex digits>")
    try:
        return requests.ImageSpec(urls=[url], digest=digest, format=_format_of(url))
    except ValidationError as error:
        raise SettingsError(
            f"the image {shown(url)} has no usable digest: write it as url#sha256:<64 hex digits> or url#sha512:<128>"
        ) from error


def _format_of(url: str) -> fields.ImageFormat:
    """By the file name's end, without .gz and .xz; `.img` may be anything."""
    name = PurePosixPath(urlsplit(url).path.lower())
    if name.suffix in (".gz", ".xz"):
        name = name.with_suffix("")
    if name.suffix in (".qcow2", ".iso"):
        return fields.ImageFormat(name.suffix[1:])
    return fields.ImageFormat.RAW
