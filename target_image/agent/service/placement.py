"""Where the bytes of a volume are, in the store or in a file outside it."""

from __future__ import annotations

from target_image.agent.backing import Address
from target_image.agent.state.rows import VolumeRecord
from target_image.agent.stores import Store


def address_of(volume: VolumeRecord, store: Store) -> Address:
    """An adopted volume is a file of the host; every other one is the store's."""
    return store.address(volume.id) if volume.path is None else Address.of_file(volume.path)
