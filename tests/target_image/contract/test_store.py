"""The contract of stores.Store, over every store and file system that is at hand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from target_image.agent.backing import Address
from target_image.agent.errors import NoSpace, NotSupported, SourceChanged, StoreFailed
from target_image.agent.settings import MIB
from target_image.agent.stores import Store
from target_image.agent.stores.sparse_file import SparseFileStore
from tests.file_systems import EXT4, XFS, mounted


@pytest.fixture(params=["as it is", "xfs with reflink"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "as it is":
        yield SparseFileStore(tmp_path / "data", allocated_ttl_s=0)
        return
    with mounted(tmp_path, XFS, 320) as folder:
        yield SparseFileStore(folder, allocated_ttl_s=0)


def file_of(store: Store, id: str) -> Path:
    return store.address(id).as_file()


def size_of(store: Store, id: str) -> int | None:
    """The volume's size, also in the trash; None if it does not exist."""
    path = file_of(store, id)
    if store.is_trashed(id):
        path = path.parents[1] / "trash" / path.name
    return path.stat().st_size if path.exists() else None


def fill(store: Store, id: str, source: Path, size_bytes: int) -> list[int]:
    told: list[int] = []
    store.fill(id, Address.of_file(source), size_bytes, thin=True, progress=told.append)
    return told


def test_create_is_thin_and_repeatable(store: Store) -> None:
    for _ in range(2):
        store.create("disk", 64 * MIB, thin=True)
    assert size_of(store, "disk") == 64 * MIB
    assert store.allocated_bytes("disk") < MIB
    assert store.fault(store.address("disk"), 64 * MIB, writable=True) is None
    file_of(store, "disk").write_bytes(b"kept")
    store.create("disk", 64 * MIB, thin=True)
    assert file_of(store, "disk").read_bytes() == b"kept"


def test_thick_is_allocated(store: Store) -> None:
    store.create("disk", 8 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 8 * MIB
    store.grow("disk", 16 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 16 * MIB


def test_fill_copies_the_bytes_and_the_holes(store: Store) -> None:
    store.create("origin", 64 * MIB, thin=True)
    with file_of(store, "origin").open("r+b") as file:
        for offset in (0, 10 * MIB + 4096, 64 * MIB - 4096):
            file.seek(offset)
            file.write(os.urandom(4096))
    told = fill(store, "copy", file_of(store, "origin"), 80 * MIB)
    assert told[-1] == 64 * MIB
    content = file_of(store, "copy").read_bytes()
    assert content[: 64 * MIB] == file_of(store, "origin").read_bytes()
    assert content[64 * MIB :] == bytes(16 * MIB)
    assert store.allocated_bytes("copy") < MIB
    with file_of(store, "copy").open("r+b") as file:
        file.write(b"changed")
    assert file_of(store, "origin").read_bytes()[:7] != b"changed"


def test_reflink_takes_no_space(tmp_path: Path) -> None:
    with mounted(tmp_path, XFS, 320) as folder:
        store = SparseFileStore(folder)
        assert store.clone == "reflink"
        store.create("origin", 64 * MIB, thin=False)
        before = store.space().free_bytes
        fill(store, "copy", file_of(store, "origin"), 64 * MIB)
        assert before - store.space().free_bytes < MIB


def test_a_source_that_changes_is_noticed(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 64) as folder:
        store = SparseFileStore(folder)
        assert store.clone == "sparse-copy"
        file_of(store, "origin").write_bytes(os.urandom(8 * MIB))

        def change(_: int) -> None:
            with file_of(store, "origin").open("r+b") as file:
                file.write(os.urandom(16))

        with pytest.raises(SourceChanged):
            store.fill("copy", store.address("origin"), 8 * MIB, thin=True, progress=change)
        assert size_of(store, "copy") is None
        assert {path.name for path in file_of(store, "copy").parent.iterdir()} == {"origin.raw"}


def test_a_volume_that_was_half_made_is_made_again(store: Store) -> None:
    file_of(store, "disk").with_suffix(".part").write_bytes(b"half")
    assert size_of(store, "disk") is None
    store.create("disk", MIB, thin=True)
    assert file_of(store, "disk").read_bytes() == bytes(MIB)


def test_grow_keeps_the_bytes_and_never_shrinks(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    with file_of(store, "disk").open("r+b") as file:
        file.write(b"data")
    for size in (4 * MIB, 2 * MIB):
        store.grow("disk", size, thin=True)
        assert size_of(store, "disk") == 4 * MIB
    assert file_of(store, "disk").read_bytes()[:4] == b"data"
    with pytest.raises(StoreFailed):
        store.grow("nothing", MIB, thin=True)


def test_trash_restore_and_remove(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    for _ in range(2):
        store.trash("disk")
        assert not file_of(store, "disk").exists()
        assert size_of(store, "disk") == MIB
    for _ in range(2):
        store.restore("disk")
        assert file_of(store, "disk").exists()
    store.trash("disk")
    for _ in range(2):
        store.remove("disk")
        assert size_of(store, "disk") is None
        assert store.allocated_bytes("disk") == 0


def test_faults_are_distinguished(store: Store, tmp_path: Path) -> None:
    store.create("disk", MIB, thin=True)
    path = file_of(store, "disk")
    codes = []
    harms: list[tuple[int, Callable[[], object]]] = [(2 * MIB, path.exists), (MIB, path.unlink), (MIB, path.mkdir)]
    for expected_bytes, harm in harms:
        harm()
        fault = store.fault(Address.of_file(path), expected_bytes, writable=True)
        assert fault is not None
        codes.append(fault.code)
    assert codes == ["backing-file-truncated", "backing-file-missing", "backing-file-unusable"]


def test_a_file_that_cannot_be_written_is_not_served_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        store.create("disk", MIB, thin=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=60)
        fault = store.fault(store.address("disk"), MIB, writable=True)
        assert fault is not None
        assert fault.code == "backing-file-unusable"
        assert store.fault(store.address("disk"), MIB, writable=False) is None


def test_what_all_take_counts_the_trash_too(store: Store) -> None:
    before = store.space().allocated_bytes
    for name in ("kept", "trashed"):
        store.create(name, 8 * MIB, thin=False)
    store.create("empty", 64 * MIB, thin=True)
    store.trash("trashed")
    assert 16 * MIB <= store.space().allocated_bytes - before < 17 * MIB


def test_a_full_disk_is_no_space(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        with pytest.raises(NoSpace):
            store.create("disk", 64 * MIB, thin=False)
        assert size_of(store, "disk") is None
        origin = tmp_path / "origin"
        origin.write_bytes(os.urandom(48 * MIB))
        with pytest.raises(NoSpace):
            fill(store, "copy", origin, 48 * MIB)
        assert not list(file_of(store, "copy").parent.iterdir())
        store.create("small", MIB, thin=False)


def test_a_copy_says_what_it_takes_at_once(store: Store, tmp_path: Path) -> None:
    store.create("origin", 8 * MIB, thin=False)
    outside = tmp_path / "outside.raw"
    outside.write_bytes(os.urandom(MIB))
    for address, size_bytes in ((store.address("origin"), 8 * MIB), (Address.of_file(outside), MIB)):
        assert store.copy_bytes(address) >= (0 if store.clone == "reflink" else size_bytes)


def test_another_file_of_the_same_name_has_another_identity(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    store.create("other", MIB, thin=True)
    address = store.address("disk")
    before = store.identity(address)
    assert before is not None
    store.grow("disk", 2 * MIB, thin=True)
    assert store.identity(address) == before
    file_of(store, "other").rename(address.as_file())
    assert store.identity(address) not in (before, None)
    address.as_file().unlink()
    assert store.identity(address) is None


def test_an_address_that_is_no_file_is_refused(store: Store) -> None:
    elsewhere = Address("rbd", "pool/disk")
    with pytest.raises(NotSupported, match="rbd:pool/disk"):
        store.fill("copy", elsewhere, MIB, thin=True, progress=lambda _: None)
    with pytest.raises(NotSupported):
        store.fault(elsewhere, MIB, writable=True)
    assert size_of(store, "copy") is None


def test_the_sum_of_what_is_allocated_is_kept_for_a_while(tmp_path: Path) -> None:
    store = SparseFileStore(tmp_path, allocated_ttl_s=3600)
    before = store.space().allocated_bytes
    store.create("disk", 8 * MIB, thin=False)
    assert store.space().allocated_bytes == before
    assert SparseFileStore(tmp_path).space().allocated_bytes >= before + 8 * MIB
