from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lundock_common import quantity


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1", 1),
        ("1Ki", 1024),
        ("10Gi", 10 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("1G", 10**9),
        ("1k", 1000),
        ("100m", 1),
        ("1500m", 2),
        ("1e3", 1000),
        ("12E2", 1200),
        ("2E", 2 * 10**18),
        (".5Mi", 2**19),
        ("1u", 1),
        ("-1", -1),
        (str(2**53 + 1), 2**53 + 1),
        (f"{2**53 + 1}Ki", (2**53 + 1) * 1024),
    ],
)
def test_parse(text: str, size_bytes: int) -> None:
    assert quantity.parse(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Gi", "1GiB", "1 Gi", "1.2.3", "0x10", "ten", "1K", "1e9999"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity.parse(text)


@given(st.integers(0, 2**62))
def test_render_is_exact(size_bytes: int) -> None:
    assert quantity.parse(quantity.render(size_bytes)) == size_bytes


def test_render_is_short() -> None:
    assert [quantity.render(n) for n in (2**30, 3 * 2**20, 1000)] == ["1Gi", "3Mi", "1000"]


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        ("1G", 10**9),
        ("1Gi", 2**30),
        ("512M", 512 * 10**6),
        ("1.5Ti", 3 * 2**39),
        ("2kib", 2048),
        ("10GB", 10**10),
        (f"{2**53 + 1}", 2**53 + 1),
        (f"{2**53 + 1}Ki", (2**53 + 1) * 1024),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert quantity.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "1 X", "1Gi5", "1e3", "1i", "1iB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="10Gi"):
        quantity.parse_size(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("1G", 2**30),
        ("1Gi", 2**30),
        ("1GiB", 2**30),
        ("1GB", 10**9),
        ("512m", 512 * 2**20),
        (" 2k ", 2048),
        ("1E", 2**60),
        ("0", 0),
    ],
)
def test_sizes_as_truncate_reads_them(text: str, size_bytes: int) -> None:
    assert quantity.parse_size_as_truncate(text) == size_bytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "1.5G", "1 G", "1i", "1iB", "1GBi"])
def test_what_is_no_size_for_truncate(text: str) -> None:
    with pytest.raises(ValueError, match="1Gi"):
        quantity.parse_size_as_truncate(text)


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (2**20, "1 MiB"), (3 * 2**29, "1.5 GiB"), (2**50, "1024 TiB")],
)
def test_for_people(size_bytes: int, shown: str) -> None:
    assert quantity.for_people(size_bytes) == shown
