from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.planning import quantity


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
