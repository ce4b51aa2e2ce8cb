"""One guest for all the tests that need one; each test leaves it as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.capabilities import need
from tests.guest.machine import Machine, boot

collect_ignore = [] if os.environ.get("LUNDOCK_GUEST") else ["inside"]


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need("qemu", "debootstrap", "root")
    with boot(tmp_path_factory.mktemp("guest")) as machine:
        yield machine
