"""Unpacking and converting real files, and hostile ones."""

from __future__ import annotations

import gzip
import lzma
import random
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lundock_common import process
from lundock_common.quantity import MIB
from target_image.agent.errors import ImageFailed
from target_image.agent.images import convert, qcow2
from target_image.agent.images.download import Stopped
from target_image.api.fields import ImageFormat
from tests.capabilities import need

BOUNDS = convert.Bounds(max_bytes=64 * MIB, memory_bytes=1024 * MIB, timeout_s=60)
DATA = random.Random(2).randbytes(700_000) + bytes(5 * MIB) + b"end"  # noqa: S311 - any bytes will do


def unpack(packed: Path, packing: str, bounds: convert.Bounds = BOUNDS) -> Path:
    output = packed.with_suffix(".out")
    convert.unpack(packed, packing, output, bounds, lambda _done, _total: None, lambda: False)
    return output


def pack(data: bytes, packing: str) -> bytes:
    return gzip.compress(data) if packing == "gz" else lzma.compress(data)


@pytest.mark.parametrize(
    ("url", "packing"),
    [
        ("https://x/a.img", ""),
        ("https://x/a.qcow2.gz", "gz"),
        ("https://x/a.raw.XZ", "xz"),
        ("https://x/a.img?name=b.gz", ""),
        ("https://x/a.gz?sig=1", "gz"),
    ],
)
def test_packing_is_told_by_the_path(url: str, packing: str) -> None:
    assert convert.packing(url) == packing


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_unpacks_and_leaves_holes(tmp_path: Path, packing: str) -> None:
    (tmp_path / "a").write_bytes(pack(DATA, packing))
    output = unpack(tmp_path / "a", packing)
    assert output.read_bytes() == DATA
    assert output.stat().st_blocks * 512 < 2 * MIB


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_unpacks_members_one_after_the_other(tmp_path: Path, packing: str) -> None:
    (tmp_path / "a").write_bytes(pack(DATA, packing) + pack(b"second", packing) + bytes(8))
    assert unpack(tmp_path / "a", packing).read_bytes() == DATA + b"second"


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_zeros_at_the_end_keep_their_length(tmp_path: Path, packing: str) -> None:
    (tmp_path / "a").write_bytes(pack(bytes(3 * MIB + 17), packing))
    assert unpack(tmp_path / "a", packing).stat().st_size == 3 * MIB + 17


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_a_bomb_is_refused_early(tmp_path: Path, packing: str) -> None:
    bomb = b"".join([pack(bytes(16 * MIB), packing)] * 100)
    (tmp_path / "a").write_bytes(bomb)
    assert len(bomb) < 2 * MIB
    with pytest.raises(ImageFailed, match="unpacks to more than"):
        unpack(tmp_path / "a", packing)
    assert (tmp_path / "a.out").stat().st_size <= BOUNDS.max_bytes


@pytest.mark.parametrize("packing", ["gz", "xz"])
@pytest.mark.parametrize("harm", ["cut", "changed", "other"])
def test_a_broken_file_is_refused(tmp_path: Path, packing: str, harm: str) -> None:
    whole = pack(DATA, packing)
    middle = len(whole) // 2
    broken = {"cut": whole[:middle], "changed": whole[:middle] + b"XXXXXXXX" + whole[middle + 8 :], "other": b"no" * 99}
    (tmp_path / "a").write_bytes(broken[harm])
    with pytest.raises(ImageFailed, match=f"not a whole .{packing} file"):
        unpack(tmp_path / "a", packing)


def test_an_xz_that_wants_much_memory_is_refused(tmp_path: Path) -> None:
    greedy = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1536 * MIB}]
    try:
        packed = lzma.compress(b"small", filters=greedy)
    except MemoryError:
        pytest.skip("this machine has too little memory to make such a file")
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(ImageFailed, match=r"not a whole \.xz"):
        unpack(tmp_path / "a", "xz")


def test_unpacking_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(DATA))
    with pytest.raises(Stopped):
        convert.unpack(tmp_path / "a", "gz", tmp_path / "b", BOUNDS, lambda _done, _total: None, lambda: True)


def qcow2_of(path: Path, data: bytes, *options: str) -> Path:
    need("qemu-img")
    raw = path.with_suffix(".raw")
    raw.write_bytes(data)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return path


@pytest.mark.parametrize("options", [[], ["-c"], ["-c", "-o", "compression_type=zstd"], ["-o", "compat=0.10"]])
def test_qcow2_becomes_the_same_sparse_disk(tmp_path: Path, options: list[str]) -> None:
    data = DATA + bytes(-len(DATA) % 512)
    image = qcow2_of(tmp_path / "a.qcow2", data, *options)
    assert convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", BOUNDS) == len(data)
    assert (tmp_path / "out").read_bytes() == data
    assert (tmp_path / "out").stat().st_blocks * 512 < 2 * MIB


def test_an_absurd_virtual_size_is_refused_before_anything_runs(tmp_path: Path) -> None:
    need("qemu-img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "a"), "8E"], check=False, timeout=60)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "a"), "64T"], check=True, timeout=60)
    with pytest.raises(ImageFailed, match="virtual size is 70368744177664"):
        convert.to_raw(tmp_path / "a", ImageFormat.QCOW2, tmp_path / "out", BOUNDS)
    assert not (tmp_path / "out").exists()


def test_a_backing_file_is_refused(tmp_path: Path) -> None:
    need("qemu-img")
    (tmp_path / "secret").write_bytes(b"x" * MIB)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(tmp_path / "secret"), "-F", "raw", str(tmp_path / "a")]
    subprocess.run(argv, check=True, timeout=60)
    with pytest.raises(ImageFailed, match="backing file"):
        convert.to_raw(tmp_path / "a", ImageFormat.QCOW2, tmp_path / "out", BOUNDS)
    assert not (tmp_path / "out").exists()


def test_qemu_img_fails_alone_when_it_wants_too_much(tmp_path: Path) -> None:
    image = qcow2_of(tmp_path / "a.qcow2", DATA)
    tight = convert.Bounds(max_bytes=64 * MIB, memory_bytes=16 * MIB, timeout_s=60)
    with pytest.raises(ImageFailed, match="could not be converted"):
        convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", tight)


def test_qemu_img_is_stopped_with_the_agent_and_where_room_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "OBJECTION_EVERY_S", 0.0)
    image = qcow2_of(tmp_path / "a.qcow2", DATA)
    with pytest.raises(Stopped):
        convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", BOUNDS, lambda: True)
    with pytest.raises(ImageFailed, match="no room"):
        convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", replace(BOUNDS, room=lambda: 0))


def test_qemu_img_has_a_time_limit(tmp_path: Path) -> None:
    image = qcow2_of(tmp_path / "a.qcow2", DATA)
    with pytest.raises(ImageFailed, match="no end after 0 s"):
        convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", replace(BOUNDS, timeout_s=0))


def test_a_qcow2_that_lies_inside_is_refused(tmp_path: Path) -> None:
    image = qcow2_of(tmp_path / "a.qcow2", DATA)
    content = bytearray(image.read_bytes())
    struct.pack_into(">I", content, 36, 0xFFFFFFFF)  # l1_size: a table of 32 GiB
    image.write_bytes(content)
    with pytest.raises(ImageFailed, match="could not be converted"):
        convert.to_raw(image, ImageFormat.QCOW2, tmp_path / "out", BOUNDS)


def test_qcow2_bytes_are_never_served_as_raw(tmp_path: Path) -> None:
    """The first bug of the 2017 demo."""
    (tmp_path / "a").write_bytes(qcow2.MAGIC + bytes(1000))
    for said in (ImageFormat.RAW, ImageFormat.ISO):
        with pytest.raises(ImageFailed, match="content is qcow2"):
            convert.to_raw(tmp_path / "a", said, tmp_path / "out", BOUNDS)


def test_raw_and_iso_are_taken_as_they_are(tmp_path: Path) -> None:
    for format in (ImageFormat.RAW, ImageFormat.ISO):
        (tmp_path / "a").write_bytes(DATA)
        assert convert.to_raw(tmp_path / "a", format, tmp_path / "out", BOUNDS) == len(DATA)
        assert (tmp_path / "out").read_bytes() == DATA


def test_an_empty_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ImageFailed, match="empty"):
        convert.to_raw(tmp_path / "a", ImageFormat.RAW, tmp_path / "out", BOUNDS)
