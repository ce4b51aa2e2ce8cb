"""One key -> what is seen of it -> the plan's step -> done. Nothing else changes anything.

A key is a claim (with its uid, so that a later claim of the same name is another key) or a PV.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from lundock_common import quantity
from provisioner import tracing
from provisioner.access import Keeper
from provisioner.errors import Conflict, NotFound, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from provisioner.kube.client import Kube, claim_path, volume_path
from provisioner.kube.events import Recorder, Subject
from provisioner.kube.informer import Informer
from provisioner.metrics import Metrics
from provisioner.planning import plan
from provisioner.planning.claims import ClaimName, notes_of, volume_id
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
from provisioner.planning.volumes import FINALIZER, VOLUME, Identity
from provisioner.provision import Provisioning, source_label, subject
from provisioner.targets import Targets
from target_image.api.client import TargetClient

log = structlog.get_logger()


@dataclass(frozen=True)
class VolumeName:
    """A PersistentVolume's key."""

    name: str

    def __str__(self) -> str:
        return self.name


Key = ClaimName | VolumeName


@dataclass(frozen=True)
class Done:
    """Nothing more until something changes."""


@dataclass(frozen=True)
class Again:
    """Once more: after so many seconds, or after the key's own back-off."""

    delay_s: float | None


Outcome = Done | Again

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

    def __init__(
        self,
        kube: Kube,
        claims: Informer,
        classes: Informer,
        pvs: Informer,
        targets: Targets,
        provisioning: Provisioning,
        keeper: Keeper,
        recorder: Recorder,
        metrics: Metrics,
        identity: Identity,
    ) -> None:
        self._kube = kube
        self._claims = claims
        self._classes = classes
        self._pvs = pvs
        self._targets = targets
        self._provisioning = provisioning
        self._keeper = keeper
        self._recorder = recorder
        self._metrics = metrics
        self._identity = identity
        self._provisioned = Recent()
        self._deleted = Recent()

    def __call__(self, key: Key) -> Outcome:
        """Never raises what is expected to go wrong: that becomes an event and an outcome."""
        kind = "claim" if isinstance(key, ClaimName) else "volume"
        with tracing.span(f"reconcile {kind}", key=str(key)), structlog.contextvars.bound_contextvars(**self._who(key)):
            return self._reconcile(key)

    def _who(self, key: Key) -> dict[str, str]:
        """Claim, PV and volume: what every line of the log about this key carries."""
        if isinstance(key, ClaimName):
            claim = self._claims.get(str(key))
            name = (claim["spec"].get("volumeName") if claim else None) or volume_id(key.uid)
            pv = self._pvs.get(name)
            return {"claim": str(key), "pv": name, "volume": notes_of(pv).get(VOLUME, name) if pv else name}
        pv = self._pvs.get(key.name) or {"metadata": {}, "spec": {}}
        reference = pv["spec"].get("claimRef")
        claimed = f"{reference['namespace']}/{reference['name']}" if reference else ""
        return {"claim": claimed, "pv": key.name, "volume": notes_of(pv).get(VOLUME, "")}

    def _reconcile(self, key: Key) -> Outcome:
        about, reason = _subject(key, None), "ProvisioningFailed"
        try:
            if isinstance(key, ClaimName):
                self._claim(key)
            elif (pv := self._pvs.get(key.name)) is not None:
                about = _subject(key, pv["metadata"]["uid"])
                reason = "VolumeFailedDelete" if plan.is_released(pv) else "VolumeMismatch"
                step = self.plan_volume(pv)
                if isinstance(step, Secure):
                    about, reason = subject(step.claim), "CHAPRotationFailed" if step.rotate else "CHAPSecretFailed"
                elif isinstance(step, SetFinalizers):
                    reason = "FinalizerFailed"
                self._volume(step)
        except Permanent as error:
            self._recorder.warning(about, _reason(error.code, reason), str(error))
            log.warning("cannot be done", key=str(key), code=error.code, detail=error.detail)
            return Done()
        except Transient as error:
            if not error.quiet:
                if error.code in WAITING:
                    self._recorder.normal(about, _reason(error.code, "Provisioning"), str(error))
                else:
                    # It is tried again and again: the same trouble with other numbers is no news.
                    self._recorder.warning(about, _reason(error.code, reason), str(error), key=error.code)
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
            self._recorder.warning(about, reason, f"KubernetesApi: {error}")
            log.warning("the API server refused", key=str(key), error=str(error))
            return Again(None)
        return Done()

    # -- claims ------------------------------------------------------------------------------------------

    def plan_claim(self, name: ClaimName) -> ClaimStep:
        """What would be done now. Raises Permanent."""
        claim = self._claims.get(str(name))
        spec = claim["spec"] if claim else {}
        storage_class = self._classes.get(spec.get("storageClassName") or "")
        pv = self._pvs.get(spec.get("volumeName") or f"pvc-{name.uid}")
        return plan.plan_claim(name, claim, storage_class, pv, self._identity)

    def _claim(self, name: ClaimName) -> None:
        match self.plan_claim(name):
            case Provision() if name.uid in self._provisioned:
                raise Transient("Echo", "its PV was just made, and is not in the cache yet.", ECHO_S, quiet=True)
            case Provision() as step:
                try:
                    self._provisioning.run(step.request)
                    self._provisioned.add(name.uid)
                except Transient as error:
                    if not error.quiet:
                        self._count_failure(step)
                    raise
                except (Permanent, Refused, OutcomeUnknown):
                    self._count_failure(step)
                    raise
            case Abandon() as step:
                self._provisioning.abandon(step)
            case Grow() as step:
                self._grow(step)
            case LeaveToPopulator(kind):
                self._recorder.normal(
                    subject(name),
                    "Provisioning",
                    f"The claim's dataSourceRef is a {kind}: left to its volume populator",
                )
            case _:
                pass

    def _count_failure(self, step: Provision) -> None:
        self._metrics.provision_failed.labels(step.request.storage_class.name, source_label(step.request)).inc()

    def _grow(self, step: Grow) -> None:
        id, target = step.volume.volume_id, self._targets.require(step.volume.target)

        def grow(client: TargetClient) -> int:
            return client.grow_volume(id, step.size_bytes).size_bytes

        try:
            size = target.call(f"grow volume {id} to {quantity.render(step.size_bytes)}", grow)
        except Transient as error:
            raise Transient(f"Grow{error.code}", error.detail, error.delay_s, quiet=error.quiet) from error
        except Permanent as error:
            raise Permanent(f"Grow{error.code}", error.detail) from error
        capacity = {"storage": quantity.render(size)}
        if step.volume.capacity_bytes < size:
            self._kube.patch(volume_path(step.volume.name), {"spec": {"capacity": capacity}})
        path = f"{claim_path(step.claim.namespace, step.claim.name)}/status"
        self._kube.patch(path, {"status": {"capacity": capacity}})
        self._recorder.normal(
            subject(step.claim),
            "VolumeResizeSuccessful",
            f"Volume {id} has {capacity['storage']} now; a VM or node sees it after its next login or rescan, "
            "and what is inside (partition, file system) is grown there",
        )
        log.info("grown", size_bytes=size)

    # -- volumes -----------------------------------------------------------------------------------------

    def plan_volume(self, pv: dict) -> VolumeStep:  # type: ignore[type-arg]
        """What would be done now. Raises Permanent."""
        reference = pv["spec"].get("claimRef") or {}
        claim = self._claims.get(f"{reference.get('namespace')}/{reference.get('name')}") if reference else None
        return plan.plan_volume(pv, claim, self._identity)

    def _volume(self, step: VolumeStep) -> None:
        match step:
            case Delete() if step.volume.uid not in self._deleted:
                self._check_still_so(step)
                self._delete(step)
                self._deleted.add(step.volume.uid)
            case SetFinalizers(name, finalizers, version, why):
                self._set_finalizers(name, finalizers, version)
                log.info("finalizers changed", why=why)
            case Secure():
                self._keeper.secure(step)
            case _:
                pass

    def _check_still_so(self, step: Delete) -> None:
        """Data is deleted on the API server's word, not on the cache's: that may be as old as a watch is silent.

        Raises Transient where the PV was kept, bound again or removed meanwhile: its event is on its way.
        """
        with suppress(NotFound):
            if self.plan_volume(self._kube.get(volume_path(step.volume.name))) == step:
                return
        raise Transient("Stale", f"PV {step.volume.name} has changed; looked at again.", STALE_S, quiet=True)

    def _delete(self, step: Delete) -> None:
        started = time.monotonic()
        volume = step.volume
        try:
            target = self._targets.require(volume.target)
            what = f"delete volume {volume.volume_id}"
            target.call(what, lambda client: client.delete_export(volume.volume_id))
            target.call(what, lambda client: client.delete_volume(volume.volume_id))
            if volume.secret is not None:
                self._keeper.delete_secret(volume.secret)
            left = self._kube.delete(volume_path(volume.name), uid=volume.uid)
            if left is not None and left.get("kind") != "Status":
                rest = tuple(item for item in left["metadata"].get("finalizers") or () if item != FINALIZER)
                self._set_finalizers(volume.name, rest, left["metadata"]["resourceVersion"])
        except (Transient, Permanent, Refused, OutcomeUnknown) as error:
            if not isinstance(error, Conflict) and not (isinstance(error, Transient) and error.quiet):
                self._metrics.delete_failed.labels(step.volume.storage_class).inc()
            raise
        self._metrics.deleted.labels(step.volume.storage_class).inc()
        self._metrics.delete_s.labels(step.volume.storage_class).observe(time.monotonic() - started)
        log.info("deleted", target=volume.target)

    def _set_finalizers(self, name: str, finalizers: tuple[str, ...], version: str) -> None:
        """Only on the PV as seen. Gone already is success."""
        meta = {"finalizers": list(finalizers), "resourceVersion": version}
        try:
            self._kube.patch(volume_path(name), {"metadata": meta})
        except NotFound:
            return


WAITING = {"SourceNotBound", "CHAPRotationWaiting"}
"""Codes of what is no failure: the claim's owner has to do something, or just wait."""


def _subject(key: Key, uid: str | None) -> Subject:
    if isinstance(key, ClaimName):
        return subject(key)
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
