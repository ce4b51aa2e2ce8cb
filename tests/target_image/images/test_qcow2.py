"""qcow2 headers: those that qemu-img writes, and hostile ones."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from lundock_common.quantity import GIB
from target_image.agent.images import qcow2
from tests.capabilities import need


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(qcow2.HEADER_BYTES)


def make(path: Path, *options: str, size: str = "1G") -> Path:
    need("qemu-img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size], check=True, timeout=60)
    return path


@pytest.mark.parametrize(
    ("options", "version", "cluster_bytes"),
    [
        ([], 3, 65536),
        (["-o", "compat=0.10"], 2, 65536),
        (["-o", "cluster_size=512"], 3, 512),
        (["-o", "compression_type=zstd"], 3, 65536),
        (["-o", "extended_l2=on,cluster_size=128k"], 3, 131072),
    ],
)
def test_whole_images_are_read(tmp_path: Path, options: list[str], version: int, cluster_bytes: int) -> None:
    image = make(tmp_path / "a.qcow2", *options)
    assert qcow2.read(head_of(image)) == qcow2.Header(version, GIB, cluster_bytes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-u", "-b", "/etc/passwd", "-F", "raw"], "backing file"),
        (["-o", "data_file=outside.raw,data_file_raw=on"], "another file"),
        # Not luks: qemu-img measures the CPU for its key derivation, and fails on a busy machine.
        (["--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s"], "encrypted"),
    ],
)
def test_images_that_reach_outside_are_refused(tmp_path: Path, options: list[str], reason: str) -> None:
    need("qemu-img")
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", *options, "a.qcow2", "64M"]
    subprocess.run(argv, check=True, timeout=60, cwd=tmp_path)
    with pytest.raises(qcow2.Refused, match=reason):
        qcow2.read(head_of(tmp_path / "a.qcow2"))


def header(**changes: int) -> bytes:
    fields = {"version": 3, "backing": 0, "name": 0, "bits": 16, "size": GIB, "crypt": 0, "incompatible": 0} | changes
    start = struct.pack(">IQIIQI", *list(fields.values())[:6])
    return (qcow2.MAGIC + start).ljust(72, b"\0") + struct.pack(">Q", fields["incompatible"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 1}, "version 1"),
        ({"version": 4}, "version 4"),
        ({"backing": 8}, "backing file"),
        ({"crypt": 1}, "encrypted"),
        ({"bits": 8}, "cluster size"),
        ({"bits": 60}, "cluster size"),
        ({"size": 0}, "virtual size is 0"),
        ({"incompatible": 2}, "corrupt"),
        ({"incompatible": 4}, "another file"),
        ({"incompatible": 1 << 40}, "not known"),
    ],
)
def test_other_headers_are_refused(changes: dict[str, int], reason: str) -> None:
    with pytest.raises(qcow2.Refused, match=reason):
        qcow2.read(header(**changes))


def test_the_header_that_the_refused_ones_vary_is_good() -> None:
    assert qcow2.read(header()) == qcow2.Header(3, GIB, 65536)


@pytest.mark.parametrize("head", [b"", b"QFI\xfb", b"\0" * 80, header()[:79]])
def test_what_is_no_qcow2(head: bytes) -> None:
    with pytest.raises(qcow2.Refused, match="not a qcow2"):
        qcow2.read(head)
