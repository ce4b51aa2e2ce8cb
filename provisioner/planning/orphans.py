"""Which volumes on a target nobody names any more, and what to do with each (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from provisioner.planning import volumes
from provisioner.planning.claims import notes_of
from provisioner.planning.volumes import Identity
from provisioner.settings import SweepSettings
from target_image.api import fields, responses


@dataclass(frozen=True)
class Named:
    """Everything in the cluster that names a volume, from consistent lists."""

    claim_uids: frozenset[str]
    volume_ids: frozenset[str]
    """That a PV names, ours or not, by its annotation, its IQN or its own name."""


@dataclass(frozen=True)
class Orphan:
    """A volume of ours that nobody names."""

    volume: responses.Volume
    why: str
    stray: bool = False
    """A second one of a volume whose PV is on another target: its Secret is that one's too."""


Action = Literal["trash", "delete", "keep"]


@dataclass(frozen=True)
class Step:
    """What to do with an orphan now, and why."""

    orphan: Orphan
    action: Action
    why: str


def named(claims: Iterable[dict[str, Any]], pvs: Iterable[dict[str, Any]], identity: Identity) -> Named:
    """What claims and PVs name. When in doubt, something is named."""
    ids: set[str] = set()
    prefix = f"{identity.iqn_prefix}:"
    for pv in pvs:
        ids.add(pv["metadata"]["name"])
        ids.add(notes_of(pv).get(volumes.VOLUME, ""))
        ids.add(((pv["spec"].get("iscsi") or {}).get("iqn") or "").removeprefix(prefix))
    uids = frozenset(claim["metadata"]["uid"] for claim in claims)
    bound = {claim["spec"].get("volumeName") or "" for claim in claims}
    return Named(uids, frozenset(ids | bound))


def orphans(
    found: Sequence[responses.Volume], names: Named, identity: Identity, strays: Mapping[str, str] | None = None
) -> list[Orphan]:
    """Volumes of this cluster and release that neither a claim nor a PV names.

    `strays`: ids of which another target holds the volume that their PV means, and which target that is.
    """
    result = []
    for volume in found:
        owner = volume.owner
        if owner is None or (owner.cluster, owner.release) != (identity.cluster, identity.release):
            continue
        if home := (strays or {}).get(volume.id):
            result.append(Orphan(volume, f"its PV means the volume of this id on target {home}", stray=True))
            continue
        uid = owner.claim_uid or volume.id.removeprefix("pvc-")
        if uid in names.claim_uids or volume.id in names.volume_ids:
            continue
        why = f"made for claim {owner.namespace}/{owner.claim} (uid {uid}), which is gone, and no PV names it"
        result.append(Orphan(volume, why))
    return result


@dataclass(frozen=True)
class Case:
    """One orphan among those of its target, and all that its judgement depends on."""

    orphan: Orphan
    since: datetime
    """When it was first seen as an orphan."""
    now: datetime
    untrashed: int
    """How many orphans of the target are not in the trash."""
    orphans: int
    total: int
    """How many volumes of ours are on the target."""
    settings: SweepSettings

    @property
    def trashed_at(self) -> datetime | None:
        return self.orphan.volume.trashed_at

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.settings.grace_seconds)


Verdict = tuple[Action, str]


def _not_turned_on(case: Case) -> Verdict | None:
    return None if case.settings.mode == "remove" else ("keep", "removal is not turned on (sweep.mode)")


def _trashed(case: Case) -> Verdict | None:
    if case.trashed_at is None:
        return None
    in_trash, orphaned = case.now - case.trashed_at, case.now - case.since
    if in_trash >= case.grace and orphaned >= min(case.grace, in_trash):
        return "delete", f"in the trash since {_time(case.trashed_at)}"
    return "keep", f"in the trash, and deleted at {_time(case.trashed_at + case.grace)}"


def _nothing_is_named(case: Case) -> Verdict | None:
    if case.orphans < case.total or case.settings.max_fraction >= 1:
        return None
    return "keep", (
        "no volume of this target is named by anything: a restored or rebuilt cluster looks like this; if they "
        "may go, set sweep.maxFraction to 1"
    )


def _too_many(case: Case) -> Verdict | None:
    if case.untrashed <= max(1, int(case.total * case.settings.max_fraction)):
        return None
    return "keep", (
        f"{case.untrashed} of {case.total} volumes are orphans, more than sweep.maxFraction allows: a restored or "
        "rebuilt cluster looks like this; if they may go, raise it"
    )


def _too_young(case: Case) -> Verdict | None:
    if case.now - case.since >= case.grace:
        return None
    return "keep", f"an orphan since {_time(case.since)}, and goes to the trash after {case.grace}"


def _never_finished(case: Case) -> Verdict | None:
    if case.orphan.volume.phase is fields.Phase.READY:
        return None
    return "delete", f"never finished, and an orphan since {_time(case.since)}"


def _orphaned(case: Case) -> Verdict | None:
    return "trash", f"an orphan since {_time(case.since)}"


RULES: tuple[Callable[[Case], Verdict | None], ...] = (
    _not_turned_on,
    _trashed,
    _nothing_is_named,
    _too_many,
    _too_young,
    _never_finished,
    _orphaned,
)
"""In this order; the first that has a verdict decides."""


def judge(
    found: Sequence[Orphan], total: int, orphan_since: Mapping[str, datetime], now: datetime, settings: SweepSettings
) -> list[Step]:
    """What to do with each orphan. `total`: how many volumes of ours are on the target."""
    untrashed = sum(orphan.volume.trashed_at is None for orphan in found)
    steps = []
    for orphan in found:
        since = orphan_since.get(orphan.volume.id, now)
        case = Case(orphan, since, now, untrashed, len(found), total, settings)
        action, why = next(verdict for rule in RULES if (verdict := rule(case)) is not None)
        steps.append(Step(orphan, action, why))
    return steps


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
