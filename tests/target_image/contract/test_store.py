"""The contract of stores.Store, over every store and file system that is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lundock_common.quantity import MIB
from target_image.agent.backing import Address
from target_image.agent.errors import NotSupported, StoreFailed
from target_image.agent.settings import Settings
from target_image.agent.stores import STORES, Store, make_store
from target_image.api.problems import Code
from tests.file_systems import XFS, mounted
from tests.target_image.contract.stores import MAKERS, has_size, read, write


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, folder: Path) -> Store:
    return MAKERS[request.param](folder)


@pytest.fixture(params=["as it is", "xfs with reflink"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "as it is":
        yield tmp_path / "data"
        return
    with mounted(tmp_path, XFS, 320) as folder:
        yield folder


def fill(store: Store, id: str, source: Address, size_bytes: int) -> list[int]:
    progress: list[int] = []
    store.fill(id, source, size_bytes, thin=True, progress=progress.append)
    return progress


def test_every_store_is_held_to_the_contract(tmp_path: Path) -> None:
    assert set(MAKERS) == set(STORES)
    for name in STORES:
        assert make_store(Settings(data_dir=tmp_path / name), name).name == name


def test_create_is_thin_and_repeatable(store: Store) -> None:
    for _ in range(2):
        store.create("disk", 64 * MIB, thin=True)
    assert has_size(store, "disk", 64 * MIB)
    assert store.allocated_bytes("disk") < MIB
    write(store, "disk", b"kept")
    store.create("disk", 64 * MIB, thin=True)
    assert has_size(store, "disk", 64 * MIB)
    assert read(store, "disk", 4) == b"kept"


def test_thick_is_allocated(store: Store) -> None:
    store.create("disk", 8 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 8 * MIB
    store.grow("disk", 16 * MIB, thin=False)
    assert store.allocated_bytes("disk") >= 16 * MIB


def test_fill_copies_the_bytes_and_the_holes(store: Store) -> None:
    store.create("origin", 64 * MIB, thin=True)
    for offset in (0, 10 * MIB + 4096, 64 * MIB - 4096):
        write(store, "origin", os.urandom(4096), offset)
    assert fill(store, "copy", store.address("origin"), 80 * MIB)[-1] == 64 * MIB
    assert read(store, "copy", 64 * MIB) == read(store, "origin")
    assert read(store, "copy", offset=64 * MIB) == bytes(16 * MIB)
    assert store.allocated_bytes("copy") < MIB
    write(store, "copy", b"changed")
    assert read(store, "origin", 7) != b"changed"


def test_fill_takes_a_file_from_outside(store: Store, tmp_path: Path) -> None:
    """An image, or a volume of a backup."""
    content = os.urandom(MIB)
    outside = tmp_path / "outside.raw"
    outside.write_bytes(content)
    fill(store, "copy", Address.of_file(outside), 2 * MIB)
    assert read(store, "copy") == content + bytes(MIB)


def test_grow_keeps_the_bytes_and_never_shrinks(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    write(store, "disk", b"data")
    for size_bytes in (4 * MIB, 2 * MIB):
        store.grow("disk", size_bytes, thin=True)
        assert has_size(store, "disk", 4 * MIB)
    assert read(store, "disk", 4) == b"data"
    with pytest.raises(StoreFailed):
        store.grow("nothing", MIB, thin=True)


def test_trash_restore_and_remove(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    write(store, "disk", b"data")
    for _ in range(2):
        store.trash("disk")
        assert store.is_trashed("disk")
        assert _code(store, store.address("disk"), MIB) is Code.BACKING_FILE_MISSING
        assert has_size(store, "disk", MIB)
    for _ in range(2):
        store.restore("disk")
        assert not store.is_trashed("disk")
        assert read(store, "disk", 4) == b"data"
    store.trash("disk")
    for _ in range(2):
        store.remove("disk")
        assert store.find("disk") is None
        assert store.allocated_bytes("disk") == 0


def test_volumes_are_found(store: Store) -> None:
    assert (store.ids(), store.find("disk")) == ([], None)
    for id in ("other", "disk"):
        store.create(id, MIB, thin=True)
    assert (store.ids(), store.find("disk")) == (["disk", "other"], store.address("disk"))
    store.trash("disk")
    assert store.ids() == ["other"]
    assert store.find("disk") not in (None, store.address("disk"))


def test_faults_are_distinguished(store: Store) -> None:
    store.create("disk", MIB, thin=True)
    address = store.address("disk")
    assert _code(store, address, MIB) is None
    assert _code(store, address, 2 * MIB) is Code.BACKING_FILE_TRUNCATED
    store.remove("disk")
    assert _code(store, address, MIB) is Code.BACKING_FILE_MISSING


def test_what_all_take_counts_the_trash_too(store: Store) -> None:
    before = store.space().allocated_bytes
    for name in ("kept", "trashed"):
        store.create(name, 8 * MIB, thin=False)
    store.create("empty", 64 * MIB, thin=True)
    store.trash("trashed")
    assert 16 * MIB <= store.space().allocated_bytes - before < 17 * MIB


def test_a_copy_says_what_it_takes_at_once(store: Store, tmp_path: Path) -> None:
    store.create("origin", 8 * MIB, thin=False)
    outside = tmp_path / "outside.raw"
    outside.write_bytes(os.urandom(MIB))
    for address, size_bytes in ((store.address("origin"), 8 * MIB), (Address.of_file(outside), MIB)):
        assert store.copy_bytes(address) >= (0 if store.clone == "reflink" else size_bytes)


def test_the_identity_stays_while_the_volume_does(store: Store) -> None:
    for id in ("disk", "other"):
        store.create(id, MIB, thin=True)
    before = store.identity(store.address("disk"))
    assert before not in (None, store.identity(store.address("other")))
    store.grow("disk", 2 * MIB, thin=True)
    assert store.identity(store.address("disk")) == before
    store.remove("disk")
    assert store.identity(store.address("disk")) is None


def test_an_address_that_the_store_does_not_know_is_refused(store: Store) -> None:
    elsewhere = Address("unknown", "pool/disk")
    with pytest.raises(NotSupported, match="unknown:pool/disk"):
        store.fill("copy", elsewhere, MIB, thin=True, progress=lambda _: None)
    with pytest.raises(NotSupported):
        store.fault(elsewhere, MIB, writable=True)
    assert store.find("copy") is None


def _code(store: Store, address: Address, size_bytes: int) -> Code | None:
    fault = store.fault(address, size_bytes, writable=True)
    return None if fault is None else fault.code
