"""Target engines: what makes a backing file reachable over iSCSI.

CONTRIBUTING.md lists all the places that know the engines by name.

An engine holds no desired state. It takes what one target must be (`apply`) and makes it so, whatever
was there before; the ledger is what survives. Every method may be called again after a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol

from target_image.agent.backing import Address

if TYPE_CHECKING:
    from target_image.agent.settings import Settings


@dataclass(frozen=True)
class BackingLun:
    """One LUN as an engine needs it. `serial` and `wwn` come from `naming` and never change."""

    lun: int
    address: Address
    size_bytes: int
    read_only: bool
    thin: bool
    serial: str
    wwn: str
    """16 hex digits, the vendor-specific part of a locally assigned NAA designator."""
    product_id: str
    """At most 16 ASCII characters (SPC-4 INQUIRY)."""


@dataclass(frozen=True)
class Credentials:
    """CHAP; the mutual pair is None for one-way. repr never shows a password."""

    username: str
    password: str
    mutual_username: str | None = None
    mutual_password: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, mutual_username={self.mutual_username!r})"


@dataclass(frozen=True)
class TargetState:
    """What one target must be. `tid` is unique over all shards and never used again."""

    tid: int
    shard: int
    iqn: str
    luns: tuple[BackingLun, ...]
    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    chap: Credentials | None = None


@dataclass(frozen=True)
class LiveSession:
    """One iSCSI session (I_T nexus) of a target, as the engine numbers it."""

    iqn: str
    session: int
    initiator: str
    addresses: tuple[str, ...]
    connections: tuple[int, ...] = ()


@dataclass(frozen=True)
class EngineCapabilities:
    """What an engine can do; a request beyond it is NotSupported."""

    grow: Literal["online", "detached"]
    """`detached`: no initiator learns of a growth, so that a volume grows only while no session lives."""
    mutual_chap: bool
    access_by_initiator: bool
    access_by_network: bool
    access_by_both: bool
    """Whether an access list may name initiators and networks, and who logs in has to be in both."""
    unmap: bool


class Engine(Protocol):
    """The contract, held by tests/target_image/contract over every engine."""

    name: str
    capabilities: EngineCapabilities

    def start(self) -> None:
        """Start (or adopt) what serves iSCSI, without serving yet.

        Raises:
            EngineFailed: it cannot be started; says what is missing.
        """

    def open(self) -> None:
        """Begin to serve: called once, after every target of the ledger was applied."""

    def stop(self) -> None:
        """End every session and leave nothing behind; in under 5 s."""

    def kill_hung(self) -> None:
        """Kill each process that has not answered for settings.hung_after_s, so that it counts as dead."""

    def dead_shards(self) -> set[int]:
        """Shards whose process died, to be restarted with `restart`."""

    def restart(self, shard: int) -> None:
        """Start a dead shard again, empty and not yet serving; `open` follows after the replay."""

    def ready(self) -> bool:
        """Every portal accepts a TCP connection and the engine answers."""

    def portals(self, shard: int) -> list[str]:
        """host:port of a shard's portals."""

    def check(self, target: TargetState) -> None:
        """Refuse what it can never serve, before anything is promised. Asks nobody.

        Raises:
            Invalid: it cannot take a name, a path or a password as it is written.
            NotSupported: it cannot do what is asked for.
        """

    def apply(self, target: TargetState) -> None:
        """Make the target exactly this and read it back. Live sessions stay, whatever changed."""

    def remove(self, target: TargetState) -> None:
        """Take the target down, with its sessions. Succeeds if it does not exist."""

    def audit(self, targets: Sequence[TargetState]) -> list[TargetState]:
        """Read these back, and give those that are not what was applied; `apply` repairs them."""

    def sessions(self, targets: Iterable[TargetState]) -> list[LiveSession]:
        """Live sessions of these targets."""

    def end_session(self, target: TargetState, session: LiveSession) -> None:
        """End one session. Succeeds if it has ended."""

    def session_bytes(self, target: TargetState) -> dict[int, tuple[int, int]]:
        """Bytes read and written by LUN over the live sessions; empty where the engine does not count."""


EngineName = Literal["tgt", "lio"]
"""What the settings, the options and the chart accept."""

ENGINES: dict[EngineName, tuple[str, str]] = {
    "tgt": ("target_image.agent.engines.tgt.engine", "TgtEngine"),
    "lio": ("target_image.agent.engines.lio", "LioEngine"),
}
"""Module and class of each engine. Imported by name: rtslib must not be needed for tgt."""


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name. What the host lacks is found out by its `start`."""
    module, name = ENGINES[settings.engine]
    engine: Engine = getattr(import_module(module), name)(settings)
    return engine
