from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.capabilities import need


@pytest.fixture(scope="session")
def libvirt_directory() -> Iterator[Path]:
    """Where the driver's daemon lives. The name is short: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="libvirt-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def libvirt_driver(libvirt_directory: Path) -> Iterator[Any]:
    """A connection to libvirt's QEMU driver, in an unprivileged daemon of the tests' own."""
    need("libvirtd", "qemu", "qemu-iscsi")
    from tests.vm_disks.driver import private_libvirtd

    with private_libvirtd(libvirt_directory) as connection:
        yield connection
