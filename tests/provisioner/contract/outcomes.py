"""What is compared of the answers of an agent and of its twin: of a problem its code, of a model what callers use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from target_image.api import fields, responses
from target_image.api.client import ApiProblem
from tests.provisioner.agent_twin import MIB, TargetCalls
from tests.waiting import eventually


@dataclass(frozen=True)
class Refusal:
    """What is compared of a problem."""

    code: str
    status: int
    retryable: bool = False


@dataclass(frozen=True)
class SeenVolume:
    """What is compared of a volume."""

    id: str
    size_bytes: int = 16 * MIB
    source: tuple[str, ...] = ("none",)
    claim_uid: str | None = "uid-a"
    thin: bool = True
    phase: str = "ready"
    condition: str | None = None
    trashed: bool = False
    exports: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenExport:
    """What is compared of an export."""

    id: str
    iqn: str
    luns: tuple[tuple[int, str, bool], ...]
    user: str | None
    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    claim_uid: str | None = "uid-a"
    phase: str = "ready"
    sessions: int = 0


Call = Callable[[TargetCalls], object]
Outcome = Refusal | SeenVolume | SeenExport | tuple[str, ...] | None


def observe(call: Call, calls: TargetCalls) -> Outcome:
    """How a call ends. A copy that takes longer than the agent's PUT waits for it is waited for."""
    try:
        answer = call(calls)
    except ApiProblem as problem:
        return Refusal(problem.code, problem.status, problem.retryable)
    match answer:
        case responses.Volume():
            return see_volume(_wait_until_filled(answer, calls))
        case responses.Export():
            return see_export(answer)
        case responses.Image():
            return ("image", answer.name)
        case list():
            return tuple(item.id for item in answer)
    assert answer is None
    return None


def _wait_until_filled(volume: responses.Volume, calls: TargetCalls) -> responses.Volume:
    def filled() -> responses.Volume | None:
        there = calls.get_volume(volume.id)
        return None if there is None or there.phase is fields.Phase.WORKING else there

    return eventually(filled, f"volume {volume.id} is filled") if volume.phase is fields.Phase.WORKING else volume


def see_volume(volume: responses.Volume) -> SeenVolume:
    source = volume.source
    detail = getattr(source, "volume", None) or getattr(source, "image", None)
    return SeenVolume(
        volume.id,
        volume.size_bytes,
        (source.type,) if detail is None else (source.type, detail),
        volume.owner.claim_uid if volume.owner else None,
        volume.thin,
        volume.phase,
        volume.condition.code if volume.condition else None,
        volume.trashed_at is not None,
        tuple(volume.exports),
    )


def see_export(export: responses.Export) -> SeenExport:
    return SeenExport(
        export.id,
        export.iqn,
        tuple((lun.lun, lun.volume, lun.read_only) for lun in export.luns),
        export.chap.username if export.chap else None,
        tuple(export.access.initiators),
        tuple(export.access.networks),
        export.owner.claim_uid if export.owner else None,
        export.phase,
        export.sessions,
    )
