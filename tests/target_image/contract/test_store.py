"""The contract of stores.Store, over every store and file system that is at hand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from target_image.agent.errors import NoSpace, SourceChanged, StoreFailed
from target_image.agent.settings import MIB
from target_image.agent.stores import Store
from target_image.agent.stores.sparse_file import SparseFileStore
from tests.file_systems import EXT4, XFS, mounted


@pytest.fixture(params=["as it is", "xfs with reflink"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "as it is":
        yield SparseFileStore(tmp_path / "data")
        return
    with mounted(tmp_path, XFS, 320) as folder:
        yield SparseFileStore(folder)


def fill(store: Store, id: str, source: Path, size_bytes: int) -> list[int]:
    told: list[int] = []
    store.fill(id, source, size_bytes, thin=True, progress=told.append)
    return told


def test_create_is_thin_and_repeatable(store: Store) -> None:
    for _ in range(2):
        store.create("disk", 64 * MIB, thin=True)
    assert store.size_bytes("disk") == 64 * MIB
    assert store.allocated_bytes("disk") < MIB
    assert store.problem(store.path("disk"), 64 * MIB, writable=True) is None
    store.path("disk").write_bytes(b"kept")
    store.create("disk", 64 * MIB, thin=True)
    assert store.path("disk").read_bytes() == b"kept"


def test_thick_is_allocated(store: Store) -> None:
    store.create("disk", 8 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 8 * MIB
    store.grow("disk", 16 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 16 * MIB


def test_fill_copies_the_bytes_and_the_holes(store: Store) -> None:
    store.create("origin", 64 * MIB, thin=True)
    with store.path("origin").open("r+b") as file:
        for offset in (0, 10 * MIB + 4096, 64 * MIB - 4096):
            file.seek(offset)
            file.write(os.urandom(4096))
    told = fill(store, "copy", store.path("origin"), 80 * MIB)
    assert told[-1] == 64 * MIB
    content = store.path("copy").read_bytes()
    assert content[: 64 * MIB] == store.path("origin").read_bytes()
    assert content[64 * MIB :] == bytes(16 * MIB)
    assert store.allocated_bytes("copy") < MIB
    with store.path("copy").open("r+b") as file:
        file.write(b"changed")
    assert store.path("origin").read_bytes()[:7] != b"changed"


def test_reflink_takes_no_space(tmp_path: Path) -> None:
    with mounted(tmp_path, XFS, 320) as folder:
        store = SparseFileStore(folder)
        assert store.clone == "reflink"
        store.create("origin", 64 * MIB, thin=False)
        before = store.space().free_bytes
        fill(store, "copy", store.path("origin"), 64 * MIB)
        assert before - store.space().free_bytes < MIB


def test_a_source_that_changes_is_noticed(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 64) as folder:
        store = SparseFileStore(folder)
        assert store.clone == "sparse-copy"
        store.path("origin").write_bytes(os.urandom(8 * MIB))

        def change(_: int) -> None:
            with store.path("origin").open("r+b") as file:
                file.write(os.urandom(16))

        with pytest.raises(SourceChanged):
            store.fill("copy", store.path("origin"), 8 * MIB, thin=True, progress=change)
        assert store.size_bytes("copy") is None
        assert {path.name for path in store.path("copy").parent.iterdir()} == {"origin.raw"}


def test_what_was_half_made_is_made_anew(store: Store) -> None:
    store.path("disk").with_suffix(".part").write_bytes(b"half")
    assert store.size_bytes("disk") is None
    store.create("disk", MIB, thin=True)
    assert store.path("disk").read_bytes() == bytes(MIB)


def test_grow_keeps_the_bytes_and_never_shrinks(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    with store.path("disk").open("r+b") as file:
        file.write(b"data")
    for size in (4 * MIB, 2 * MIB):
        store.grow("disk", size, thin=True)
        assert store.size_bytes("disk") == 4 * MIB
    assert store.path("disk").read_bytes()[:4] == b"data"
    with pytest.raises(StoreFailed):
        store.grow("nothing", MIB, thin=True)


def test_trash_restore_and_remove(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    for _ in range(2):
        store.trash("disk")
        assert not store.path("disk").exists()
        assert store.size_bytes("disk") == MIB
    for _ in range(2):
        store.restore("disk")
        assert store.path("disk").exists()
    store.trash("disk")
    for _ in range(2):
        store.remove("disk")
        assert store.size_bytes("disk") is None
        assert store.allocated_bytes("disk") == 0


def test_problems_are_told_apart(store: Store, tmp_path: Path) -> None:
    store.create("disk", MIB, thin=True)
    path = store.path("disk")
    codes = []
    for expected_bytes, harm in [(2 * MIB, lambda: None), (MIB, path.unlink), (MIB, path.mkdir)]:
        harm()
        problem = store.problem(path, expected_bytes, writable=True)
        assert problem is not None
        codes.append(problem.code)
    assert codes == ["backing-file-truncated", "backing-file-missing", "backing-file-unusable"]


def test_a_file_that_cannot_be_written_is_not_served_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        store.create("disk", MIB, thin=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=60)
        problem = store.problem(store.path("disk"), MIB, writable=True)
        assert problem is not None
        assert problem.code == "backing-file-unusable"
        assert store.problem(store.path("disk"), MIB, writable=False) is None


def test_what_all_take_counts_the_trash_too(store: Store) -> None:
    before = store.all_allocated_bytes()
    for name in ("kept", "trashed"):
        store.create(name, 8 * MIB, thin=False)
    store.create("empty", 64 * MIB, thin=True)
    store.trash("trashed")
    assert 16 * MIB <= store.all_allocated_bytes() - before < 17 * MIB


def test_a_full_disk_is_no_space(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        with pytest.raises(NoSpace):
            store.create("disk", 64 * MIB, thin=False)
        assert store.size_bytes("disk") is None
        origin = tmp_path / "origin"
        origin.write_bytes(os.urandom(48 * MIB))
        with pytest.raises(NoSpace):
            fill(store, "copy", origin, 48 * MIB)
        assert not list(store.path("copy").parent.iterdir())
        store.create("small", MIB, thin=False)
