"""What the demo target shall serve, from the environment that the 2017 demo knew. Pure but for looking at host files.

    SIZE               size of the empty LUN 1: 1G, 1Gi, 512M (default 1Gi)
    IMAGES             images of LUN 2 and up: names of the catalogue, or url#sha256:digest (default "alpine cirros")
    EXPORT_HOST_PATHS  files or block devices in the container, LUN 5 and up; may have wildcards
    USERNAME PASSWORD  CHAP; PASSWORD_FILE names a file with the password instead
    IQN                the target's name
    PORTAL             host or host:port where the host publishes it; only for the commands that are shown

Lists are separated by spaces or commas. LUN 4 is always the demo disk; a third image and more follow the host's files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from lundock_common.portal import Portal
from lundock_common.quantity import parse_size_as_truncate
from target_image.agent.errors import SettingsError
from target_image.agent.images import catalogue, qcow2
from target_image.agent.images.library import DEMO
from target_image.api import fields, requests

DEFAULT_IQN = "iqn.2017-01.io.kubevirt:sn.42"
DEFAULT_IMAGES = "alpine cirros"
EMPTY_LUN, DEMO_LUN, FIRST_HOST_LUN = 1, 4, 5
CHAP_SECRET_CHARACTERS = 12
"""RFC 7143 section 9.2.1 wants 96 bits; some initiators (Windows) refuse less. The 2017 demo took any, so we warn."""
SECTOR_BYTES = 512


@dataclass(frozen=True)
class HostFile:
    """A file of the host. `read_only` because the container may not write it."""

    path: Path
    size_bytes: int
    read_only: bool


@dataclass(frozen=True)
class PlannedLun:
    """One LUN: empty, an image, or a host's file."""

    lun: int
    name: str
    image: str | None = None
    host_file: HostFile | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    iqn: str
    luns: tuple[PlannedLun, ...]
    chap: requests.Chap | None
    portal: Portal | None
    added_images: Mapping[str, requests.ImageSpec]
    warnings: tuple[str, ...] = field(default=())


def plan(environ: Mapping[str, str], known: Mapping[str, catalogue.Entry] | None = None) -> Plan:
    """What the environment asks for.

    Args:
        environ: the environment.
        known: the catalogue's images; None is the package's catalogue.

    Raises:
        SettingsError: a variable cannot be used; names it and says what it may be. Or the catalogue cannot be read.
    """
    known = catalogue.load() if known is None else known
    warnings: list[str] = []
    images, added = _images(environ.get("IMAGES", DEFAULT_IMAGES), known, warnings)
    size_bytes = _size_bytes(environ.get("SIZE") or "1Gi")
    luns = [PlannedLun(EMPTY_LUN, "empty", size_bytes=size_bytes), PlannedLun(DEMO_LUN, DEMO, image=DEMO)]
    luns += [PlannedLun(lun, name, image=image) for lun, (name, image) in enumerate(images[:2], start=2)]
    files = _host_files(environ.get("EXPORT_HOST_PATHS", ""), warnings)
    luns += [
        PlannedLun(lun, f"host-{lun}", host_file=file, size_bytes=file.size_bytes)
        for lun, file in enumerate(files, start=FIRST_HOST_LUN)
    ]
    first_free = FIRST_HOST_LUN + len(files)
    luns += [PlannedLun(lun, name, image=image) for lun, (name, image) in enumerate(images[2:], start=first_free)]
    return Plan(
        iqn=_iqn(environ.get("IQN") or DEFAULT_IQN),
        luns=tuple(sorted(luns, key=lambda lun: lun.lun)),
        chap=_chap(environ, warnings),
        portal=_portal(environ["PORTAL"]) if environ.get("PORTAL") else None,
        added_images=added,
        warnings=tuple(warnings),
    )


def _size_bytes(text: str) -> int:
    """The 2017 demo gave SIZE to truncate(1)."""
    try:
        size_bytes = parse_size_as_truncate(text)
    except ValueError as error:
        raise SettingsError(f"SIZE={error}") from error
    if size_bytes == 0:
        raise SettingsError(f"SIZE={text!r} is no size: write it like 1G, 1Gi or 512M")
    return size_bytes


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _images(
    text: str, known: Mapping[str, catalogue.Entry], warnings: list[str]
) -> tuple[list[tuple[str, str]], dict[str, requests.ImageSpec]]:
    """(name of the LUN, name of the image) of each, and the images that are new."""
    chosen: list[tuple[str, str]] = []
    added: dict[str, requests.ImageSpec] = {}
    for word in _words(text):
        if "://" in word:
            spec = catalogue.from_url(word)
            name = f"image-{spec.digest.partition(':')[2][:12]}"
            added[name] = spec
            chosen.append((name, name))
        elif word == DEMO:
            chosen.append((f"{DEMO}-again", DEMO))  # beside LUN 4: another volume of the same image
        elif word in known:
            chosen.append((word, word))
        elif text == DEFAULT_IMAGES:  # the default must start everywhere, and not every image exists for every machine
            warnings.append(
                f"the catalogue has no {word} for this machine's architecture: the demo disk takes its place"
            )
            chosen.append((word, DEMO))
        else:
            names = ", ".join(sorted([DEMO, *known]))
            raise SettingsError(f"IMAGES names {word!r}: give names of the catalogue ({names}), or url#sha256:digest")
    if len({name for name, _ in chosen}) < len(chosen):
        raise SettingsError(f"IMAGES={text!r} names an image twice")
    return chosen, added


def _iqn(text: str) -> str:
    try:
        return TypeAdapter(fields.Iqn).validate_python(text)
    except ValidationError as error:
        raise SettingsError(
            f"IQN={text!r} is no iSCSI name: write it like {DEFAULT_IQN} (letters, digits, dots, hyphens and colons)"
        ) from error


def _portal(text: str) -> Portal:
    try:
        return Portal.parse(text)
    except ValueError as error:
        raise SettingsError(f"PORTAL={text!r}: give host or host:port, an IPv6 address in brackets") from error


def _chap(environ: Mapping[str, str], warnings: list[str]) -> requests.Chap | None:
    username, password = environ.get("USERNAME", ""), environ.get("PASSWORD", "")
    file = environ.get("PASSWORD_FILE")
    if file:
        try:
            password = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise SettingsError(f"PASSWORD_FILE={file} cannot be read: {error.strerror}") from error
    if not username and not password:
        return None
    if not username or not password:
        raise SettingsError("USERNAME and PASSWORD go together: give both for CHAP, or neither for none")
    try:
        TypeAdapter(fields.ChapName).validate_python(username)
    except ValidationError as error:
        raise SettingsError(f"USERNAME={username!r} is no CHAP name: use letters, digits and @ . _ : -") from error
    if len(password) < CHAP_SECRET_CHARACTERS:
        warnings.append(
            f"PASSWORD is shorter than {CHAP_SECRET_CHARACTERS} characters: it is taken as in 2017, but it is easily "
            "guessed by whoever records a login, and some initiators (Windows) refuse it"
        )
    # Not validated: the API keeps to 12 characters, and the demo says what is wrong with fewer.
    return requests.Chap.model_construct(username=username, password=SecretStr(password))


def _host_files(text: str, warnings: list[str]) -> list[HostFile]:
    files = []
    for word in _words(text):
        pattern = Path(word)
        if not pattern.is_absolute():
            raise SettingsError(f"EXPORT_HOST_PATHS names {word!r}: give absolute paths in the container")
        paths = sorted(pattern.parent.glob(pattern.name)) if re.search(r"[*?\[]", word) else [pattern]
        if not paths:
            raise SettingsError(f"EXPORT_HOST_PATHS={word}: nothing in the container is named so; mount it with -v")
        files += [_host_file(path, warnings) for path in paths]
    return files


def _host_file(path: Path, warnings: list[str]) -> HostFile:
    if re.search(r"[,=]", str(path)):
        raise SettingsError(f"EXPORT_HOST_PATHS: {path} cannot be served: rename it without commas and equals signs")
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(len(qcow2.MAGIC))
    except OSError as error:
        raise SettingsError(
            f"EXPORT_HOST_PATHS: {path} cannot be opened ({error.strerror}): "
            f"mount it with -v, readable for uid {os.getuid()}"
        ) from error
    if size_bytes < SECTOR_BYTES:
        raise SettingsError(f"EXPORT_HOST_PATHS: {path} has {size_bytes} bytes, which is less than one sector")
    if size_bytes % SECTOR_BYTES:
        warnings.append(
            f"{path} is not a whole number of sectors: its last {size_bytes % SECTOR_BYTES} bytes are left out"
        )
    if head == qcow2.MAGIC:
        warnings.append(f"{path} is a qcow2 file and is served byte for byte: an initiator sees no bootable disk in it")
    read_only = not os.access(path, os.W_OK)
    if read_only:
        warnings.append(f"{path} is READ-ONLY: uid {os.getuid()} may not write it; writes of initiators are refused")
    return HostFile(path, size_bytes - size_bytes % SECTOR_BYTES, read_only)
