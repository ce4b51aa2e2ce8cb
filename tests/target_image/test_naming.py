"""The names that initiators see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_image.agent import naming


def test_identity_is_fixed_for_ever() -> None:
    """Changing these would change the disks under people's multipath and fstab: never do."""
    assert naming.iqn("iqn.2026-11.io.lundock", "pvc-1") == "iqn.2026-11.io.lundock:pvc-1"
    assert naming.serial("pvc-1") == "299c1b7935e521596fc771c043036b67"
    assert naming.wwn("pvc-1") == "ea3f175569330795"


@given(st.text(), st.text())
def test_identities_differ(one: str, other: str) -> None:
    assert (naming.serial(one) == naming.serial(other)) is (one == other)
    assert len(naming.serial(one)) == 32
    assert len(naming.wwn(one)) == 16
