"""Polling, instead of sleeping: the one poller of the cluster, the benchmarks and the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

T = TypeVar("T")

POLL_S = 0.05


def wait_for(
    look: Callable[[], T], timeout_s: float, *, enough: Callable[[T], bool] = bool, pause_s: float = POLL_S
) -> T:
    """Call `look` until what it returns is enough, at least once and for this long at most.

    An error of `look` is not waited out.

    Args:
        look: returns what is seen now.
        enough: whether what was seen ends the waiting; by default when it is true.
        pause_s: between two looks.

    Returns:
        What was seen last: enough, unless the time is over.
    """
    retrying = Retrying(
        retry=retry_if_not_result(enough),
        stop=stop_after_delay(timeout_s),
        wait=wait_fixed(pause_s),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    return retrying(look)
