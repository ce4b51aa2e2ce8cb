"""The sweep: volumes on the targets that nobody names any more, and PVs whose volume is missing.

A crash between making a volume and its PV, with the claim deleted meanwhile, leaves a volume behind. It is
told from the lists alone: what carries this cluster and release, and no claim and no PV names. It goes to the
trash first, and only after a grace time; a PV whose volume is missing is reported and never removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import structlog

from provisioner.errors import Permanent, ProvisionerError, Refused, Transient
from provisioner.kube.client import CLAIMS, VOLUMES, Kube
from provisioner.kube.events import Recorder, Subject
from provisioner.metrics import Metrics
from provisioner.planning import volumes
from provisioner.planning.claims import notes_of
from provisioner.planning.plan import OurVolume, is_ours, our_volume
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings, SweepSettings
from provisioner.targets import Target, Targets
from target_image.api import fields, responses

log = structlog.get_logger()


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


@dataclass(frozen=True)
class Step:
    """What to do with an orphan now, and why."""

    orphan: Orphan
    action: Literal["trash", "delete", "keep"]
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


def secret_namespaces(classes: Iterable[dict[str, Any]], settings: Settings) -> set[str]:
    """Every namespace that CHAP Secrets may lie in, beside the claims' own."""
    ours = (item for item in classes if item["provisioner"] == settings.provisioner_name)
    names = {(item.get("parameters") or {}).get("chapSecretNamespace", "") for item in ours}
    return (names | {settings.chap.secret_namespace}) - {""}


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


def judge(
    found: Sequence[Orphan], total: int, orphan_since: dict[str, datetime], now: datetime, settings: SweepSettings
) -> list[Step]:
    """What to do with each orphan. `total`: how many volumes of ours are on the target."""
    grace = timedelta(seconds=settings.grace_seconds)
    budget = max(1, int(total * settings.max_fraction))
    untrashed = [orphan for orphan in found if orphan.volume.trashed_at is None]
    steps = []
    for orphan in found:
        trashed_at = orphan.volume.trashed_at
        since = orphan_since.get(orphan.volume.id, now)
        action: Literal["trash", "delete", "keep"] = "keep"
        if settings.mode != "remove":
            why = "removal is not turned on (sweep.mode)"
        elif trashed_at is not None and now - trashed_at >= grace and now - since >= min(grace, now - trashed_at):
            action, why = "delete", f"in the trash since {trashed_at:%Y-%m-%dT%H:%M:%SZ}"
        elif trashed_at is not None:
            why = f"in the trash, and deleted at {trashed_at + grace:%Y-%m-%dT%H:%M:%SZ}"
        elif len(found) == total and settings.max_fraction < 1:
            why = (
                "no volume of this target is named by anything: a restored or rebuilt cluster looks like this; if they "
                "may go, set sweep.maxFraction to 1"
            )
        elif len(untrashed) > budget:
            why = (
                f"{len(untrashed)} of {total} volumes are orphans, more than sweep.maxFraction allows: a restored or "
                "rebuilt cluster looks like this; if they may go, raise it"
            )
        elif now - since < grace:
            why = f"an orphan since {since:%Y-%m-%dT%H:%M:%SZ}, and goes to the trash after {grace}"
        elif orphan.volume.phase is not fields.Phase.READY:
            action, why = "delete", f"never finished, and an orphan since {since:%Y-%m-%dT%H:%M:%SZ}"
        else:
            action, why = "trash", f"an orphan since {since:%Y-%m-%dT%H:%M:%SZ}"
        steps.append(Step(orphan, action, why))
    return steps


class Sweeper:
    """Sweeps every target in turn. Only the leader runs it."""

    def __init__(
        self,
        kube: Kube,
        targets: Targets,
        recorder: Recorder,
        metrics: Metrics,
        identity: Identity,
        settings: Settings,
        secret_namespaces: Callable[[], set[str]] = set,
    ) -> None:
        self._kube = kube
        self._targets = targets
        self._recorder = recorder
        self._metrics = metrics
        self._identity = identity
        self._settings = settings.sweep
        self._secret_namespaces = secret_namespaces
        self._orphan_since: dict[str, datetime] = {}

    def run(self, stopping: threading.Event, may_act: Callable[[], bool] = lambda: True) -> None:
        """At each interval until stopped, or until it may not act any more."""
        while not stopping.wait(self._settings.interval_seconds) and may_act():
            try:
                self.sweep()
            except ProvisionerError as error:
                log.warning("the sweep failed and is tried again later", error=str(error))
            except Exception:
                log.exception("a mistake of this program; the sweep is tried again later")

    def sweep(self, *, dry_run: bool = False, since_creation: bool = False) -> list[tuple[str, Step]]:
        """One sweep of every target that answers: the steps by target's name, carried out unless `dry_run`.

        `since_creation`: a single sweep has seen no orphan before, so its age is what counts as grace.
        """
        result: list[tuple[str, Step]] = []
        for target in self._targets.values():
            try:
                result += [(target.name, step) for step in self._sweep_target(target, dry_run, since_creation)]
            except (Permanent, Transient) as error:
                log.warning("target not swept", target=target.name, error=str(error))
        return result

    def _sweep_target(self, target: Target, dry_run: bool, since_creation: bool) -> list[Step]:
        # The target first: whatever is listed there has had its claim before, so that nothing new looks orphaned.
        on_target = target.call("list the volumes", lambda client: client.list_volumes())
        claims, _ = self._kube.list(CLAIMS)
        pvs, _ = self._kube.list(VOLUMES)
        ours = self._ours(pvs)
        names = named(claims, pvs, self._identity)
        found = orphans(on_target, names, self._identity, self._strays(target, on_target, ours))
        now = datetime.now(UTC)
        for orphan in found:
            first = orphan.volume.created_at if since_creation else now
            self._orphan_since.setdefault(orphan.volume.id, first)
        # Of this target's volumes, those that are named again are no orphans any more.
        for named_again in {volume.id for volume in on_target} - {orphan.volume.id for orphan in found}:
            self._orphan_since.pop(named_again, None)
        total = len(orphans(on_target, Named(frozenset(), frozenset()), self._identity))
        steps = judge(found, total, self._orphan_since, now, self._settings)
        self._metrics.orphans.labels(target.name).set(len(found))
        if not dry_run:
            steps = [self._tried(target, step) for step in steps]
        self._report_missing(target, {volume.id for volume in on_target}, ours)
        return steps

    def _ours(self, pvs: Iterable[dict[str, Any]]) -> list[OurVolume]:
        """The volumes of our PVs that stay."""
        result = []
        for pv in pvs:
            if not is_ours(pv, self._identity) or pv["metadata"].get("deletionTimestamp"):
                continue
            try:
                result.append(our_volume(pv, self._identity))
            except Permanent as error:
                log.warning("a PV contradicts itself", pv=pv["metadata"]["name"], error=str(error))
        return result

    def _strays(self, target: Target, found: Sequence[responses.Volume], ours: Sequence[OurVolume]) -> dict[str, str]:
        """What was begun here before its claim went to another target, where its volume is: id -> that target."""
        homes = {volume.volume_id: volume.target for volume in ours}
        result = {}
        for id in (volume.id for volume in found if homes.get(volume.id, target.name) != target.name):
            try:
                home = self._targets.require(homes[id])
                there = home.call("look for a volume", lambda client, id=id: client.get_volume(id))  # type: ignore[misc]
            except (Permanent, Transient):
                continue  # in doubt it is the only one there is
            if there is not None and there.phase is fields.Phase.READY and there.trashed_at is None:
                result[id] = home.name
        return result

    def _tried(self, target: Target, step: Step) -> Step:
        """Done, or why not: an orphan that somebody is logged in to does not hold up the others."""
        try:
            self._do(target, step)
        except (Permanent, Transient) as error:
            log.warning("orphan not removed", target=target.name, volume=step.orphan.volume.id, error=str(error))
            return replace(step, action="keep", why=f"could not be done: {error}")
        return step

    def _do(self, target: Target, step: Step) -> None:
        volume, owner = step.orphan.volume, step.orphan.volume.owner
        log.info(
            "orphan", target=target.name, volume=volume.id, action=step.action, reason=step.orphan.why, why=step.why
        )
        if step.action != "keep":
            target.call(f"stop exporting orphan {volume.id}", lambda client: client.delete_export(volume.id))
        if step.action == "trash":
            target.call(f"put orphan {volume.id} into the trash", lambda client: client.trash_volume(volume.id))
        elif step.action == "delete":
            if not step.orphan.stray:
                self._delete_secrets(volume.id, owner.namespace if owner else "")
            target.call(f"delete orphan {volume.id}", lambda client: client.delete_volume(volume.id))

    def _delete_secrets(self, volume_id: str, namespace: str) -> None:
        """Wherever they may lie. Before the volume, which is what a later sweep finds again."""
        for place in sorted((self._secret_namespaces() | {namespace}) - {""}):
            name = volumes.secret_name(volume_id, place)
            try:
                self._kube.delete(f"/api/v1/namespaces/{name.namespace}/secrets/{name.name}")
            except Refused as error:
                # Where Secrets stay in the release's namespace, the provisioner has no rights in the claims'.
                log.info("orphan's secret not looked for", volume=volume_id, namespace=place, error=str(error))

    def _report_missing(self, target: Target, there: set[str], named: Sequence[OurVolume]) -> None:
        missing = 0
        for ours in named:
            if ours.target != target.name or ours.volume_id in there:
                continue
            if target.call("look for a volume", lambda client, i=ours.volume_id: client.get_volume(i)) is not None:  # type: ignore[misc]
                continue
            missing += 1
            message = (
                f"volume {ours.volume_id} is not on target {target.name}; restore the target's data from a backup, or "
                "delete the claim. Nothing is removed by itself."
            )
            log.warning("volume missing", pv=ours.name, volume=ours.volume_id, target=target.name)
            self._recorder.warning(Subject("PersistentVolume", "", ours.name, ours.uid), "VolumeMissing", message)
        self._metrics.missing.labels(target.name).set(missing)


def print_table(steps: Sequence[tuple[str, Step]]) -> str:
    """One line for each orphan, with what would be done and why."""
    if not steps:
        return "No orphans: every volume of this release is named by a claim or a PV.\n"
    lines = [("TARGET", "VOLUME", "SIZE", "ACTION", "REASON")]
    for target, step in steps:
        volume = step.orphan.volume
        lines.append((target, volume.id, str(volume.size_bytes), step.action, f"{step.orphan.why}; {step.why}"))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]) + "\n"
        for line in lines
    )
