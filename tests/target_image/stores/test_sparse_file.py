"""The sparse-file store: what only a store of files can be asked, and what file systems do to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.backing import Address
from target_image.agent.errors import NoSpace, SourceChanged
from target_image.agent.stores.sparse_file import SparseFileStore
from target_image.api.problems import Code
from tests.file_systems import EXT4, XFS, mounted
from tests.target_image.contract.stores import has_size


@pytest.fixture
def store(tmp_path: Path) -> SparseFileStore:
    return SparseFileStore(tmp_path / "data", allocated_ttl_s=0)


def file_of(store: SparseFileStore, id: str) -> Path:
    return store.address(id).as_file()


def fill(store: SparseFileStore, id: str, source: Path, size_bytes: int) -> None:
    store.fill(id, Address.of_file(source), size_bytes, thin=True, progress=lambda _: None)


def test_the_look_for_reflink_leaves_nothing(store: SparseFileStore) -> None:
    assert list(file_of(store, "disk").parent.iterdir()) == []


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
        assert store.find("copy") is None
        assert {path.name for path in file_of(store, "copy").parent.iterdir()} == {"origin.raw"}


def test_a_volume_that_was_half_made_is_made_again(store: SparseFileStore) -> None:
    file_of(store, "disk").with_suffix(".part").write_bytes(b"half")
    assert (store.find("disk"), store.ids()) == (None, [])
    store.create("disk", MIB, thin=True)
    assert file_of(store, "disk").read_bytes() == bytes(MIB)


def test_harm_to_a_file_is_a_fault(store: SparseFileStore) -> None:
    store.create("disk", MIB, thin=True)
    path = file_of(store, "disk")
    for harm, code in ((path.unlink, Code.BACKING_FILE_MISSING), (path.mkdir, Code.BACKING_FILE_UNUSABLE)):
        harm()
        fault = store.fault(store.address("disk"), MIB, writable=True)
        assert fault is not None
        assert fault.code is code


def test_a_file_that_cannot_be_written_is_not_served_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        store.create("disk", MIB, thin=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=60)
        fault = store.fault(store.address("disk"), MIB, writable=True)
        assert fault is not None
        assert fault.code is Code.BACKING_FILE_UNUSABLE
        assert store.fault(store.address("disk"), MIB, writable=False) is None


def test_a_full_disk_is_no_space(tmp_path: Path) -> None:
    with mounted(tmp_path, EXT4, 32) as folder:
        store = SparseFileStore(folder)
        with pytest.raises(NoSpace):
            store.create("disk", 64 * MIB, thin=False)
        assert store.find("disk") is None
        origin = tmp_path / "origin"
        origin.write_bytes(os.urandom(48 * MIB))
        with pytest.raises(NoSpace):
            fill(store, "copy", origin, 48 * MIB)
        assert not list(file_of(store, "copy").parent.iterdir())
        store.create("small", MIB, thin=False)
        assert has_size(store, "small", MIB)


def test_another_file_of_the_same_name_has_another_identity(store: SparseFileStore) -> None:
    for id in ("disk", "other"):
        store.create(id, MIB, thin=True)
    address = store.address("disk")
    before = store.identity(address)
    file_of(store, "other").rename(address.as_file())
    assert store.identity(address) not in (before, None)


def test_the_sum_of_what_is_allocated_is_kept_for_a_while(tmp_path: Path) -> None:
    store = SparseFileStore(tmp_path, allocated_ttl_s=3600)
    before = store.space().allocated_bytes
    store.create("disk", 8 * MIB, thin=False)
    assert store.space().allocated_bytes == before
    assert SparseFileStore(tmp_path).space().allocated_bytes >= before + 8 * MIB
