"""What may be promised, and what may be written without taking it from a promise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lundock_common.quantity import GIB
from target_image.agent.service.capacity import measure, spare
from target_image.agent.stores import Space
from target_image.api import responses


@given(
    free=st.integers(0, 2**50),
    allocated=st.integers(0, 2**50),
    promised=st.integers(0, 2**50),
    ratio=st.floats(0.1, 10),
)
def test_available_is_never_negative_nor_beyond_the_ratio(
    free: int, allocated: int, promised: int, ratio: float
) -> None:
    found = measure(
        Space(free + allocated, free, allocated),
        promised_bytes=promised,
        ratio=ratio,
        reserve_bytes=GIB,
    )
    assert found.available_bytes >= 0
    assert found.available_bytes + promised <= max(promised, (free + allocated) * ratio + 1)


def test_what_is_written_does_not_change_what_may_be_promised() -> None:
    before = measure(Space(100, 100, 0), promised_bytes=40, ratio=1, reserve_bytes=10)
    after = measure(Space(100, 70, 30), promised_bytes=40, ratio=1, reserve_bytes=10)
    assert before.available_bytes == after.available_bytes == 50


def test_blocks_that_clones_share_do_not_make_the_disk_larger() -> None:
    found = measure(Space(100, 80, 60), promised_bytes=60, ratio=1, reserve_bytes=10)
    assert found.available_bytes == 100 - 10 - 60


@given(
    free=st.integers(0, 2**50),
    allocated=st.integers(0, 2**50),
    promised=st.integers(0, 2**50),
    ratio=st.floats(0.1, 10),
)
def test_what_is_spare_can_be_written_and_every_promise_kept(
    free: int, allocated: int, promised: int, ratio: float
) -> None:
    def found(written: int) -> responses.Capacity:
        return measure(
            Space(free + allocated, free - written, allocated),
            promised_bytes=promised,
            ratio=ratio,
            reserve_bytes=GIB,
        )

    bytes_ = spare(found(0), GIB)
    assert 0 <= bytes_ <= max(0, free - GIB)
    usable = max(0, free - bytes_ + allocated - GIB)
    assert bytes_ == 0 or promised <= usable * ratio * (1 + 1e-9) + ratio
