"""What LIO cannot serve is refused before the kernel is asked; tests/guest has the kernel's side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lundock_common.quantity import MIB
from target_image.agent.backing import Address
from target_image.agent.engines import BackingLun, Credentials, TargetState
from target_image.agent.engines.lio.shape import check
from target_image.agent.errors import Invalid, NotSupported

LUN = BackingLun(1, Address.of_file("/disk.raw"), MIB, False, True, "0" * 32, "1" * 16, "VOLUME")
TARGET = TargetState(1, 0, "iqn.2026-11.test:disk", (LUN,), ("iqn.2026-11.test:node",), (), Credentials("a", "b" * 12))


def test_a_target_as_it_should_be() -> None:
    check(TARGET)


@pytest.mark.parametrize(
    ("wrong", "error", "reason"),
    [
        ({"networks": ("10.0.0.0/8",)}, NotSupported, "no access list by network"),
        ({"iqn": "iqn.2026-11.test:Disk"}, Invalid, "write iqn.2026-11.test:disk"),
        ({"initiators": ("iqn.2026-11.test:Node",)}, Invalid, "write iqn.2026-11.test:node"),
        ({"luns": (replace(LUN, address=Address.of_file("/a,b")),)}, Invalid, "no comma"),
        ({"luns": (replace(LUN, address=Address("rbd", "pool/disk")),)}, NotSupported, "rbd:pool/disk"),
        ({"chap": Credentials("NULL", "b" * 12)}, Invalid, "NULL"),
        ({"chap": Credentials("a", "b" * 12, "c", "NULL-and-the-rest")}, Invalid, "NULL"),
    ],
)
def test_what_lio_would_take_for_something_else(wrong: dict[str, object], error: type[Invalid], reason: str) -> None:
    with pytest.raises(error, match=reason) as raised:
        check(replace(TARGET, **wrong))  # type: ignore[arg-type]
    assert "and-the-rest" not in raised.value.detail
