"""The agent put together: every part made once, from the settings, and started and stopped in order."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import structlog

from target_image.agent import translate
from target_image.agent.engines import Engine, make_engine
from target_image.agent.errors import SettingsError
from target_image.agent.images.library import Images
from target_image.agent.service.capacity import Capacity
from target_image.agent.service.exports import Exports
from target_image.agent.service.filling import Filling
from target_image.agent.service.locks import Locks
from target_image.agent.service.serving import Serving
from target_image.agent.service.storing import Storing
from target_image.agent.service.supervisor import Supervisor
from target_image.agent.service.volumes import Volumes
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.lost import check_not_lost
from target_image.agent.stores import make_store
from target_image.api import responses

log = structlog.get_logger()


class Agent:
    """What the API, the page and the demo are made on.

    Raises:
        SettingsError: the settings cannot be used, or the ledger's exports need more shards.
        LedgerError: the ledger cannot be opened or read, or its volumes are there and it is not.
        StoreFailed: the store cannot be used, or NoSpace.
    """

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        settings.check()
        self.settings = settings
        self.store = make_store(settings)
        check_not_lost(settings.ledger_file, self.store)
        self.ledger = Ledger(settings.ledger_file)
        self._check_shards()
        self.engine = engine if engine is not None else make_engine(settings)
        self.capacity = Capacity(settings, self.ledger, self.store)
        self.images = Images(settings, self.ledger, room=self.capacity.spare_bytes)
        locks = Locks()
        serving = Serving(settings, self.ledger, self.store, self.engine)
        self._filling = Filling(settings, self.ledger, self.store, self.images, self.capacity, locks)
        storing = Storing(self.ledger, self.store, self._filling)
        self.volumes = Volumes(
            self.ledger, self.store, self.engine, self.images, self.capacity, serving, storing, self._filling, locks
        )
        self.exports = Exports(settings, self.ledger, self.engine, serving, locks)
        self.supervisor = Supervisor(settings, self.ledger, self.engine, serving, storing, self.exports, locks)

    def start(self) -> None:
        """Continue images and copies; the supervisor starts the engine and replays the ledger."""
        self.images.start()
        self._filling.start()
        self.supervisor.start()

    def stop(self) -> None:
        """End every session and leave nothing running, in under 5 s. What is unfinished goes on at the next start."""
        self.images.stop()
        self._filling.stop()
        self.supervisor.stop()
        self.ledger.close()
        log.info("stopped")

    def ready(self) -> bool:
        """Everything that the ledger promises is served, or known to be offline, and every portal answers."""
        return self.supervisor.serving.is_set() and self.supervisor.failure is None and self.engine.ready()

    def _check_shards(self) -> None:
        needed = 1 + max((export.shard for export in self.ledger.exports()), default=0)
        if needed > self.settings.shards:
            self.ledger.close()
            raise SettingsError(
                f"the ledger has exports on {needed} shards and --shards is {self.settings.shards}: an export keeps "
                f"its shard, since its port is in the claims that use it; start with --shards {needed} or more"
            )

    def capabilities(self) -> responses.Capabilities:
        return translate.capabilities_to_response(
            self.engine, version=own_version(), clone=self.store.clone, shards=self.settings.shards
        )


def own_version() -> str:
    try:
        return version("lundock")
    except PackageNotFoundError:
        return "0"
