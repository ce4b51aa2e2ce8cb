from __future__ import annotations

import pytest

from lundock_common.names import is_dns_label, is_iqn


@pytest.mark.parametrize("text", ["a", "0", "a-b", "pvc-1", "a" * 63])
def test_dns_labels(text: str) -> None:
    assert is_dns_label(text)


@pytest.mark.parametrize("text", ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n", "a b"])
def test_what_is_no_dns_label(text: str) -> None:
    assert not is_dns_label(text)


@pytest.mark.parametrize("text", ["iqn.1993-08.org.debian:01:abc", "iqn.2026-11.io.lundock", "iqn.2026-11.test:A-b.c"])
def test_iqns(text: str) -> None:
    assert is_iqn(text)


@pytest.mark.parametrize(
    "text",
    ["", "debian", "iqn.93-08.org.debian:x", "iqn.1993-08.org.DEBIAN:x", "iqn.1993-08.a_b:x", "iqn.1993-08.a:x\n"],
)
def test_what_is_no_iqn(text: str) -> None:
    assert not is_iqn(text)
