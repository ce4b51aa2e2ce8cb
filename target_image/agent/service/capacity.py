"""How much may be promised. The decision is pure; `Capacity` only gathers its numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from target_image.agent import translate
from target_image.agent.errors import NoSpace
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.stores import Space, Store
from target_image.api import responses


def measure(space: Space, *, promised_bytes: int, ratio: float, reserve_bytes: int) -> responses.Capacity:
    """What is left to promise: `ratio` times the space that volumes have or could have, less what is promised.

    Blocks that clones share are counted for each; still all of them together are no more than the store has.
    """
    usable_bytes = max(0, min(space.total_bytes, space.free_bytes + space.allocated_bytes) - reserve_bytes)
    available_bytes = max(0, int(usable_bytes * ratio) - promised_bytes)
    return translate.capacity_to_response(
        space, promised_bytes=promised_bytes, available_bytes=available_bytes, ratio=ratio
    )


def spare(found: responses.Capacity, reserve_bytes: int) -> int:
    """What may be written that is promised to no volume (images), so that as much can be kept as before."""
    return max(0, min(found.free_bytes - reserve_bytes, int(found.available_bytes / found.overcommit_ratio)))


class Capacity:
    """Admission: no volume is promised that would not fit."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._mutex = threading.Lock()

    def now(self) -> responses.Capacity:
        return measure(
            self._store.space(),
            promised_bytes=self._ledger.promised_bytes(),
            ratio=self._settings.overcommit_ratio,
            reserve_bytes=self._settings.reserve_bytes,
        )

    def spare_bytes(self) -> int:
        """See `spare`."""
        return spare(self.now(), self._settings.reserve_bytes)

    @contextmanager
    def admit(self, id: str, size_bytes: int, *, needed_now_bytes: int = 0) -> Iterator[None]:
        """Hold the door while a promise of so many more bytes is written into the ledger.

        Args:
            id: the volume that they are promised to, for the message.
            size_bytes: how many more bytes.
            needed_now_bytes: what will be allocated at once: it has to be free now, whatever the ratio.

        Raises:
            NoSpace: so much may not be promised, or is not free now.
        """
        with self._mutex:
            found = self.now()
            free_bytes = max(0, found.free_bytes - self._settings.reserve_bytes)
            if size_bytes > found.available_bytes:
                raise NoSpace(
                    f"volume {id} asks for {size_bytes} bytes and {found.available_bytes} may still be promised "
                    f"({found.promised_bytes} are, at an overcommit ratio of {found.overcommit_ratio:g}): "
                    "ask for less, delete volumes, or add space"
                )
            if needed_now_bytes > free_bytes:
                raise NoSpace(
                    f"volume {id} needs {needed_now_bytes} bytes at once and {free_bytes} are free: "
                    "delete volumes, or add space"
                )
            yield
