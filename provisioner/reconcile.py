"""One key -> what is seen of it -> the plan's step -> done. Nothing else changes anything.

A key is a claim (with its uid, so that a later claim of the same name is another key) or a PV.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import structlog

from lundock_common import quantity
from lundock_common.kubernetes_api import (
    Conflict,
    Json,
    NotFound,
    OutcomeUnknown,
    Refused,
    Throttled,
    claim_path,
    volume_path,
)
from provisioner.context import Caches, Context, claim_subject
from provisioner.credentials import Credentials
from provisioner.errors import Busy, Permanent, Transient
from provisioner.kube.events import Subject
from provisioner.making import Maker
from provisioner.observing import tracing
from provisioner.outcomes import Again, Done, Outcome
from provisioner.planning import plan
from provisioner.planning.claims import ClaimName, notes_of, source_label, volume_id
from provisioner.planning.plan import (
    Abandon,
    ClaimStep,
    Delete,
    Grow,
    LeaveToPopulator,
    Provision,
    Secure,
    SetFinalizers,
    VolumeStep,
)
from provisioner.planning.volumes import FINALIZER, VOLUME
from provisioner.provision import Provisioning
from provisioner.securing import Keeper

log = structlog.get_logger()


@dataclass(frozen=True)
class VolumeName:
    """A PersistentVolume's key."""

    name: str

    def __str__(self) -> str:
        return self.name


Key = ClaimName | VolumeName


ECHO_S = 30.0
"""How long the informers may lag behind what was just done."""


STALE_S = 5.0
"""When to look again at a PV whose copy here turned out to be old; its event comes earlier as a rule."""


class Recent:
    """Uids of what was just done, so that a cache which lags behind does not have it done twice. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done_at: dict[str, float] = {}

    def add(self, uid: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._done_at = {key: at for key, at in self._done_at.items() if now - at < ECHO_S} | {uid: now}

    def __contains__(self, uid: str) -> bool:
        return time.monotonic() - self._done_at.get(uid, float("-inf")) < ECHO_S


class Reconciler:
    """Thread-safe; the queue sees to it that one key is with one thread."""

    def __init__(self, context: Context, caches: Caches, credentials: Credentials) -> None:
        self._context = context
        self._caches = caches
        self._credentials = credentials
        self._maker = Maker(context, caches, credentials)
        self._provisioning = Provisioning(context, caches.claims, self._maker)
        self.keeper = Keeper(context, caches, credentials)
        self._provisioned = Recent()
        self._deleted = Recent()

    def __call__(self, key: Key) -> Outcome:
        """Never raises what is expected to go wrong: that becomes an event and an outcome."""
        kind = "claim" if isinstance(key, ClaimName) else "volume"
        names = self._names_for_log(key)
        with tracing.span(f"reconcile {kind}", key=str(key)), structlog.contextvars.bound_contextvars(**names):
            outcome = self._reconcile(key)
            if isinstance(outcome, Again) and outcome.why:
                log.debug("again", why=outcome.why, delay_s=outcome.delay_s)
            return outcome

    def _names_for_log(self, key: Key) -> dict[str, str]:
        """Claim, PV and volume: what every line of the log about this key carries."""
        if isinstance(key, ClaimName):
            claim = self._caches.claims.get(str(key))
            name = (claim["spec"].get("volumeName") if claim else None) or volume_id(key.uid)
            pv = self._caches.pvs.get(name)
            return {"claim": str(key), "pv": name, "volume": notes_of(pv).get(VOLUME, name) if pv else name}
        pv = self._caches.pvs.get(key.name) or {"metadata": {}, "spec": {}}
        reference = pv["spec"].get("claimRef")
        claimed = f"{reference['namespace']}/{reference['name']}" if reference else ""
        return {"claim": claimed, "pv": key.name, "volume": notes_of(pv).get(VOLUME, "")}

    def _reconcile(self, key: Key) -> Outcome:
        recorder = self._context.recorder
        about, reason = _subject(key, None), "ProvisioningFailed"
        try:
            if isinstance(key, ClaimName):
                return self._reconcile_claim(key)
            pv = self._caches.pvs.get(key.name)
            if pv is None:
                return Done()
            about = _subject(key, pv["metadata"]["uid"])
            reason = "VolumeFailedDelete" if plan.is_released(pv) else "VolumeMismatch"
            step = self.plan_volume(pv)
            if isinstance(step, Secure):
                about, reason = claim_subject(step.claim), "CHAPRotationFailed" if step.rotate else "CHAPSecretFailed"
            elif isinstance(step, SetFinalizers):
                reason = "FinalizerFailed"
            return self._carry_out(step)
        except Permanent as error:
            recorder.warning(about, _reason(error.code, reason), str(error))
            log.warning("cannot be done", key=str(key), code=error.code, detail=error.detail)
            return Done()
        except Busy as error:
            return Again(error.delay_s)
        except Transient as error:
            if error.code in WAITING:
                recorder.normal(about, _reason(error.code, "Provisioning"), str(error))
            else:
                # It is tried again and again: the same trouble with other numbers is no news.
                recorder.warning(about, _reason(error.code, reason), str(error), key=error.code)
            log.info("not yet", key=str(key), code=error.code, detail=error.detail)
            return Again(error.delay_s)
        except Conflict as error:
            log.debug("changed meanwhile", key=str(key), error=str(error))
            return Again(None)
        except (Throttled, OutcomeUnknown) as error:
            log.warning("the API server did not do it", key=str(key), error=str(error))
            # An answer that says "after 0 seconds" would make a hot loop.
            return Again((error.retry_after_s or None) if isinstance(error, Throttled) else None)
        except Refused as error:
            recorder.warning(about, reason, f"KubernetesApi: {error}")
            log.warning("the API server refused", key=str(key), error=str(error))
            return Again(None)

    def plan_claim(self, name: ClaimName) -> ClaimStep:
        """What would be done now.

        Raises:
            Permanent: wrong input.
        """
        claim = self._caches.claims.get(str(name))
        spec = claim["spec"] if claim else {}
        storage_class = self._caches.classes.get(spec.get("storageClassName") or "")
        pv = self._caches.pvs.get(spec.get("volumeName") or volume_id(name.uid))
        return plan.plan_claim(name, claim, storage_class, pv, self._context.identity)

    def _reconcile_claim(self, name: ClaimName) -> Outcome:
        match self.plan_claim(name):
            case Provision() if name.uid in self._provisioned:
                return Again(ECHO_S, "its PV was just made, and is not in the cache yet")
            case Provision() as step:
                return self._provision(step)
            case Abandon() as step:
                self._maker.abandon(step.claim)
            case Grow() as step:
                self._grow(step)
            case LeaveToPopulator(kind):
                message = f"The claim's dataSourceRef is a {kind}: left to its volume populator"
                self._context.recorder.normal(claim_subject(name), "Provisioning", message)
            case _:
                pass
        return Done()

    def _provision(self, step: Provision) -> Outcome:
        request = step.request
        try:
            outcome = self._provisioning.run(request)
        except Busy:
            raise
        except (Transient, Permanent, Refused, OutcomeUnknown):
            labels = request.storage_class.name, source_label(request.source)
            self._context.metrics.provision_failed.labels(*labels).inc()
            raise
        if isinstance(outcome, Done):
            self._provisioned.add(request.claim.uid)
        return outcome

    def _grow(self, step: Grow) -> None:
        id, target = step.volume.volume_id, self._context.targets.require(step.volume.target)
        try:
            size = target.grow_volume(id, step.size_bytes)
        except Busy:
            raise
        except Transient as error:
            raise Transient(f"Grow{error.code}", error.detail, error.delay_s) from error
        except Permanent as error:
            raise Permanent(f"Grow{error.code}", error.detail) from error
        capacity = {"storage": quantity.render(size)}
        if step.volume.capacity_bytes < size:
            self._context.kube.patch(volume_path(step.volume.name), {"spec": {"capacity": capacity}})
        path = f"{claim_path(step.claim.namespace, step.claim.name)}/status"
        self._context.kube.patch(path, {"status": {"capacity": capacity}})
        self._context.recorder.normal(
            claim_subject(step.claim),
            "VolumeResizeSuccessful",
            f"Volume {id} has {capacity['storage']} now; a VM or node sees it after its next login or rescan, "
            "and what is inside (partition, file system) is grown there",
        )
        log.info("grown", size_bytes=size)

    def plan_volume(self, pv: Json) -> VolumeStep:
        """What would be done now.

        Raises:
            Permanent: VolumeMismatch: the PV's annotation and IQN do not name the same volume of ours.
        """
        reference = pv["spec"].get("claimRef") or {}
        claim = self._caches.claims.get(f"{reference.get('namespace')}/{reference.get('name')}") if reference else None
        return plan.plan_volume(pv, claim, self._context.identity)

    def _carry_out(self, step: VolumeStep) -> Outcome:
        match step:
            case Delete() if step.volume.uid not in self._deleted:
                if not self._is_still_due(step):
                    return Again(STALE_S, "the PV has changed: its event is on its way")
                self._delete(step)
                self._deleted.add(step.volume.uid)
            case SetFinalizers(name, finalizers, version, why):
                self._set_finalizers(name, finalizers, version)
                log.info("finalizers changed", why=why)
            case Secure():
                self.keeper.secure(step)
            case _:
                pass
        return Done()

    def _is_still_due(self, step: Delete) -> bool:
        """Data is deleted on the API server's word, not on the cache's: that may be as old as a watch is silent.

        Returns:
            False where the PV was kept, bound again or removed meanwhile.
        """
        try:
            return self.plan_volume(self._context.kube.get(volume_path(step.volume.name))) == step
        except NotFound:
            return False

    def _delete(self, step: Delete) -> None:
        started = time.monotonic()
        volume = step.volume
        try:
            target = self._context.targets.require(volume.target)
            target.delete_export(volume.volume_id)
            target.delete_volume(volume.volume_id)
            if volume.secret is not None:
                self._credentials.delete(volume.secret)
            left = self._context.kube.delete(volume_path(volume.name), uid=volume.uid)
            if left is not None and left.get("kind") != "Status":
                rest = tuple(item for item in left["metadata"].get("finalizers") or () if item != FINALIZER)
                self._set_finalizers(volume.name, rest, left["metadata"]["resourceVersion"])
        except (Busy, Conflict):
            raise
        except (Transient, Permanent, Refused, OutcomeUnknown):
            self._context.metrics.delete_failed.labels(step.volume.storage_class).inc()
            raise
        self._context.metrics.deleted.labels(step.volume.storage_class).inc()
        self._context.metrics.delete_s.labels(step.volume.storage_class).observe(time.monotonic() - started)
        log.info("deleted", target=volume.target)

    def _set_finalizers(self, name: str, finalizers: tuple[str, ...], version: str) -> None:
        """Only on the PV as seen. Gone already is success."""
        meta = {"finalizers": list(finalizers), "resourceVersion": version}
        try:
            self._context.kube.patch(volume_path(name), {"metadata": meta})
        except NotFound:
            return


WAITING = {"SourceNotBound", "CHAPRotationWaiting"}
"""Codes of what is no failure: the claim's owner has to do something, or just wait."""


def _subject(key: Key, uid: str | None) -> Subject:
    if isinstance(key, ClaimName):
        return claim_subject(key)
    return Subject("PersistentVolume", "", key.name, uid or "")


def _reason(code: str, otherwise: str) -> str:
    """The event's reason: external-provisioner's and external-resizer's names, which people already watch."""
    if code.startswith("Grow"):
        return "VolumeResizeFailed"
    return {
        "CHAPRotationWaiting": "CHAPRotation",
        "VolumeMissing": "VolumeMissing",
        "ExportMissing": "ExportMissing",
    }.get(code, otherwise)
