"""From the ledger's volumes to what is in the store, whatever a crash left there."""

from __future__ import annotations

from dataclasses import replace

from target_image.agent.service.filling import Filling
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import EmptySource, VolumeRecord
from target_image.agent.stores import Store


class Storing:
    """Makes, grows, moves and deletes volumes in the store as their records say. The caller holds the volume's lock."""

    def __init__(self, ledger: Ledger, store: Store, filling: Filling) -> None:
        self._ledger = ledger
        self._store = store
        self._filling = filling

    def is_settled(self, record: VolumeRecord) -> bool:
        """Whether `finish` would find nothing to do. Costs one look at the store, and needs no lock."""
        settled = record.state == "ready" and record.grows_from is None and record.trashed_at is None
        return settled and (record.path is not None or not self._store.is_trashed(record.id))

    def resume(self, record: VolumeRecord) -> None:
        """At a start: finish the volume; one that is filled from elsewhere is filled in the background."""
        if record.state == "making" and not isinstance(record.source, EmptySource):
            self._filling.enqueue(record.id)
        else:
            self.finish(record)

    def finish(self, record: VolumeRecord) -> None:
        """Bring the store to what the record says, and save what is done. What is to be filled is left alone.

        Raises:
            StoreFailed: the store refused, or NoSpace.
        """
        if record.path is not None and record.state != "deleting":
            return
        if record.state == "deleting":
            if record.path is None:
                self._store.remove(record.id)
            self._ledger.forget_volume(record.id)
        elif record.state == "making":
            if isinstance(record.source, EmptySource):
                self._store.create(record.id, record.size_bytes, thin=record.thin)
                self._ledger.save_volume(replace(record, state="ready", condition=None))
        elif record.grows_from is not None:
            self._store.grow(record.id, record.size_bytes, thin=record.thin)
            self._ledger.save_volume(replace(record, grows_from=None))
        elif record.trashed_at is not None:
            self._store.trash(record.id)
        elif record.state == "ready":
            self._store.restore(record.id)
