"""The sweep: volumes on the targets that nobody names any more, and PVs whose volume is missing.

A crash between making a volume and its PV, with the claim deleted meanwhile, leaves a volume behind. It is
told from the lists alone: what carries this cluster and release, and no claim and no PV names. It goes to the
trash first, and only after a grace time; a PV whose volume is missing is reported and never removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from lundock_common.kubernetes_api import CLAIMS, VOLUMES, Json, KubernetesError, Refused, secret_path
from provisioner.context import Context
from provisioner.errors import Permanent, ProvisionerError, Transient
from provisioner.kube.events import Subject
from provisioner.planning import volumes
from provisioner.planning.orphans import Named, Step, judge, named, orphans
from provisioner.planning.plan import OurVolume, is_ours, our_volume
from provisioner.targets import Target
from target_image.api import fields, responses

log = structlog.get_logger()


class Sweeper:
    """Sweeps every target in turn. Only the leader runs it."""

    def __init__(self, context: Context, secret_namespaces: Callable[[], set[str]] = set) -> None:
        """`secret_namespaces` gives every namespace that CHAP Secrets may be in, besides the claims' own."""
        self._context = context
        self._secret_namespaces = secret_namespaces
        self._orphan_since: dict[str, datetime] = {}

    def run(self, stopping: threading.Event, may_act: Callable[[], bool] = lambda: True) -> None:
        """At each interval until stopped, or until it may not act any more."""
        while not stopping.wait(self._context.settings.sweep.interval_seconds) and may_act():
            try:
                self.sweep()
            except (ProvisionerError, KubernetesError) as error:
                log.warning("the sweep failed and is tried again later", error=str(error))
            except Exception:
                log.exception("a mistake of this program; the sweep is tried again later")

    def sweep(self, *, dry_run: bool = False, since_creation: bool = False) -> list[tuple[str, Step]]:
        """One sweep of every target that answers.

        Args:
            dry_run: only say what would be done.
            since_creation: count an orphan's age as grace: a single sweep has seen no orphan before.

        Returns:
            The steps, each with its target's name.
        """
        result: list[tuple[str, Step]] = []
        for target in self._context.targets.values():
            try:
                result += [(target.name, step) for step in self._sweep_target(target, dry_run, since_creation)]
            except (Permanent, Transient) as error:
                log.warning("target not swept", target=target.name, error=str(error))
        return result

    def _sweep_target(self, target: Target, dry_run: bool, since_creation: bool) -> list[Step]:
        # The target first: whatever is listed there has had its claim before, so that nothing new looks orphaned.
        on_target = target.list_volumes()
        claims, _ = self._context.kube.list(CLAIMS)
        pvs, _ = self._context.kube.list(VOLUMES)
        ours = self._ours(pvs)
        names = named(claims, pvs, self._context.identity)
        found = orphans(on_target, names, self._context.identity, self._strays(target, on_target, ours))
        now = datetime.now(UTC)
        for orphan in found:
            first = orphan.volume.created_at if since_creation else now
            self._orphan_since.setdefault(orphan.volume.id, first)
        # Of this target's volumes, those that are named again are no orphans any more.
        for named_again in {volume.id for volume in on_target} - {orphan.volume.id for orphan in found}:
            self._orphan_since.pop(named_again, None)
        total = len(orphans(on_target, Named(frozenset(), frozenset()), self._context.identity))
        steps = judge(found, total, self._orphan_since, now, self._context.settings.sweep)
        self._context.metrics.orphans.labels(target.name).set(len(found))
        if not dry_run:
            steps = [self._carry_out(target, step) for step in steps]
        self._report_missing(target, {volume.id for volume in on_target}, ours)
        return steps

    def _ours(self, pvs: Iterable[Json]) -> list[OurVolume]:
        """The volumes of our PVs that stay."""
        result = []
        for pv in pvs:
            if not is_ours(pv, self._context.identity) or pv["metadata"].get("deletionTimestamp"):
                continue
            try:
                result.append(our_volume(pv, self._context.identity))
            except Permanent as error:
                log.warning("a PV contradicts itself", pv=pv["metadata"]["name"], error=str(error))
        return result

    def _strays(self, target: Target, found: Sequence[responses.Volume], ours: Sequence[OurVolume]) -> dict[str, str]:
        """What was begun here before its claim went to another target, where its volume is: id -> that target."""
        homes = {volume.volume_id: volume.target for volume in ours}
        result = {}
        for id in (volume.id for volume in found if homes.get(volume.id, target.name) != target.name):
            try:
                home = self._context.targets.require(homes[id])
                there = home.get_volume(id)
            except (Permanent, Transient):
                continue  # in doubt it is the only one there is
            if there is not None and there.phase is fields.Phase.READY and there.trashed_at is None:
                result[id] = home.name
        return result

    def _carry_out(self, target: Target, step: Step) -> Step:
        """Trash or delete the volume. An orphan that somebody is logged in to does not hold up the others.

        Returns:
            The step, or "keep" and why where that failed.
        """
        volume, owner = step.orphan.volume, step.orphan.volume.owner
        where = {"target": target.name, "volume": volume.id}
        log.info("orphan", **where, action=step.action, reason=step.orphan.why, why=step.why)
        try:
            if step.action != "keep":
                target.delete_export(volume.id)
            if step.action == "trash":
                target.trash_volume(volume.id)
            elif step.action == "delete":
                if not step.orphan.stray:
                    self._delete_secrets(volume.id, owner.namespace if owner else "")
                target.delete_volume(volume.id)
        except (Permanent, Transient) as error:
            log.warning("orphan not removed", **where, error=str(error))
            return replace(step, action="keep", why=f"could not be done: {error}")
        return step

    def _delete_secrets(self, volume_id: str, namespace: str) -> None:
        """Wherever they may lie. Before the volume, which is what a later sweep finds again."""
        for place in sorted((self._secret_namespaces() | {namespace}) - {""}):
            name = volumes.secret_name(volume_id, place)
            try:
                self._context.kube.delete(secret_path(name.namespace, name.name))
            except Refused as error:
                # Where Secrets stay in the release's namespace, the provisioner has no rights in the claims'.
                log.info("orphan's secret not looked for", volume=volume_id, namespace=place, error=str(error))

    def _report_missing(self, target: Target, there: set[str], named: Sequence[OurVolume]) -> None:
        missing = 0
        for ours in named:
            if ours.target != target.name or ours.volume_id in there:
                continue
            if target.get_volume(ours.volume_id) is not None:
                continue
            missing += 1
            message = (
                f"volume {ours.volume_id} is not on target {target.name}; restore the target's data from a backup, or "
                "delete the claim. Nothing is removed by itself."
            )
            log.warning("volume missing", pv=ours.name, volume=ours.volume_id, target=target.name)
            self._context.recorder.warning(
                Subject("PersistentVolume", "", ours.name, ours.uid), "VolumeMissing", message
            )
        self._context.metrics.missing.labels(target.name).set(missing)
