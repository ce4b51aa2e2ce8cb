"""Carries out a claim's Provision step: volume, export, Secret, PV, in this order.

Every call may be repeated, and the order is what makes a crash harmless: the target is noted before
anything is made on it, and the PV comes last, when all that it names is there.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from provisioner.access import Keeper
from provisioner.errors import AlreadyExists, Conflict, NotFound, Permanent, Transient
from provisioner.kube.client import VOLUMES, Kube, claim_path, volume_path
from provisioner.kube.events import Recorder, Subject
from provisioner.kube.informer import Informer
from provisioner.metrics import Metrics
from provisioner.planning import placement, volumes
from provisioner.planning.claims import TARGET, CatalogueImage, ClaimName, ClaimRequest, Clone, Empty, UrlImage
from provisioner.planning.claims import volume_id as volume_id_of
from provisioner.planning.plan import Abandon
from provisioner.planning.volumes import Identity, SecretName
from provisioner.settings import ImageSettings
from provisioner.sources import Sources
from provisioner.targets import DELAYS_S, Target, Targets, code_of
from target_image.api import echo, fields, requests, responses
from target_image.api.client import ApiProblem, TargetClient

log = structlog.get_logger()

PROGRESS_STEPS = 4
"""A long import says so at each quarter."""


def subject(claim: ClaimName) -> Subject:
    return Subject("PersistentVolumeClaim", claim.namespace, claim.name, claim.uid)


def source_label(request: ClaimRequest) -> str:
    """The metrics' label `source`, as external-provisioner has it for a clone."""
    return {Empty: "", CatalogueImage: "Image", UrlImage: "ImageURL", Clone: "PersistentVolumeClaim"}[
        type(request.source)
    ]


@dataclass
class Begun:
    """A claim that is being worked on, and may be gone before it is done."""

    target: str
    secret: SecretName | None
    since: float
    progress: int = -1


class Provisioning:
    """Makes volumes for claims. Thread-safe; one claim is worked on by one thread at a time."""

    def __init__(
        self,
        kube: Kube,
        targets: Targets,
        keeper: Keeper,
        claims: Informer,
        pvs: Informer,
        recorder: Recorder,
        metrics: Metrics,
        identity: Identity,
        images: ImageSettings,
        poll_s: float,
    ) -> None:
        self._kube = kube
        self._targets = targets
        self._keeper = keeper
        self._claims = claims
        self._recorder = recorder
        self._metrics = metrics
        self._identity = identity
        self._sources = Sources(targets, claims, pvs, identity, images)
        self._poll_s = poll_s
        self._begun: dict[str, Begun] = {}
        """By the claim's uid. Lost with the process: the sweep finds what that leaves."""

    def run(self, request: ClaimRequest) -> None:
        """Until the PV is there. Raises Permanent or Transient; a long import is a quiet Transient."""
        started = time.monotonic()
        target = self._place(request)
        chap, secret = self._keeper.credentials(request)
        begun = self._begun.setdefault(request.claim.uid, Begun(target.name, secret, started))
        if (begun.target, begun.secret) != (target.name, secret):
            self._leave(request, begun, target.name, secret)
        volume = self._volume(request, target, begun)
        export = self._export(request, target, chap)
        if chap is not None and secret is not None:
            self._keeper.write_secret(secret, request.volume_id, chap, request.claim)
        if not self._still_wanted(request.claim):
            raise Transient("ClaimGone", "the claim went while its volume was made.", 0.1, quiet=True)
        self._publish(request, target, export, volume.size_bytes, secret)
        del self._begun[request.claim.uid]
        labels = request.storage_class.name, source_label(request)
        self._metrics.provisioned.labels(*labels).inc()
        self._metrics.provision_s.labels(*labels).observe(time.monotonic() - begun.since)
        self._recorder.normal(
            subject(request.claim), "ProvisioningSucceeded", f"Successfully provisioned volume {request.volume_id}"
        )
        log.info("provisioned", target=target.name, size_bytes=volume.size_bytes)

    def abandon(self, step: Abandon) -> None:
        """Remove what was begun for a claim that is gone, unless a PV came of it after all."""
        begun = self._begun.get(step.claim.uid)
        if begun is None:
            return
        volume_id = volume_id_of(step.claim.uid)
        with suppress(NotFound):
            self._kube.get(volume_path(volume_id))
            del self._begun[step.claim.uid]
            return
        target = self._targets.require(begun.target)
        self._remove(target, volume_id)
        if begun.secret is not None:
            self._keeper.delete_secret(begun.secret)
        del self._begun[step.claim.uid]
        log.info("removed what was begun for a claim that is gone", target=target.name)

    # -- where -------------------------------------------------------------------------------------------

    def _place(self, request: ClaimRequest) -> Target:
        """The target, noted on the claim before anything is made there if there was a choice."""
        allowed = placement.candidates(
            request.storage_class, request.target, [item.settings for item in self._targets.values()]
        )
        if isinstance(request.source, Clone):
            allowed = [self._sources.clone_target(request, request.source, allowed)]
        if request.target or len(self._targets) == 1:
            return self._targets[allowed[0]]
        chosen = self._already_on(request, allowed) or self._roomiest(request, allowed)
        meta = {"resourceVersion": self._claim_version(request.claim), "annotations": {TARGET: chosen}}
        try:
            self._kube.patch(claim_path(request.claim.namespace, request.claim.name), {"metadata": meta})
        except Conflict as conflict:
            # With the key's own back-off: the copy here may be old for as long as a watch is silent.
            raise Transient("ClaimChanged", "the claim changed meanwhile.", quiet=True) from conflict
        self._targets[chosen].promised(request.size_bytes)
        return self._targets[chosen]

    def _roomiest(self, request: ClaimRequest, allowed: list[str]) -> str:
        if len(allowed) == 1:
            return allowed[0]
        room: dict[str, int | None] = {}
        for name in allowed:
            try:
                room[name] = self._targets[name].available_bytes()
            except Transient:
                room[name] = None
        return placement.choose(request, room)

    def _already_on(self, request: ClaimRequest, allowed: list[str]) -> str:
        """Where its volume is already: begun when there was one target only, and nothing had to be noted."""
        for target in (self._targets[name] for name in allowed):
            try:
                found = target.call("look for the volume", lambda client: client.get_volume(request.volume_id))
            except Transient:
                continue
            if found is not None:
                return target.name
        return ""

    def _claim_version(self, name: ClaimName) -> str:
        claim = self._claims.get(str(name))
        if claim is None or claim["metadata"]["uid"] != name.uid:
            raise Transient("ClaimGone", "the claim went.", 0.1, quiet=True)
        return str(claim["metadata"]["resourceVersion"])

    def _still_wanted(self, name: ClaimName) -> bool:
        claim = self._claims.get(str(name))
        return (
            claim is not None
            and claim["metadata"]["uid"] == name.uid
            and not claim["metadata"].get("deletionTimestamp")
        )

    # -- the target's part -------------------------------------------------------------------------------

    def _volume(self, request: ClaimRequest, target: Target, begun: Begun) -> responses.Volume:
        spec = volumes.volume_spec(request, self._identity, self._sources.of(request, target))
        what = f"make volume {request.volume_id}"
        try:
            volume = target.call(what, lambda client: client.ensure_volume(request.volume_id, spec))
        except Permanent as error:
            if error.code == "IdentityConflict" and self._start_over(request, target):
                raise Transient("StartedOver", "what was begun is of another kind.", 0.1, quiet=True) from error
            raise
        except Transient as error:
            if error.code == "NotReady" and self._take_out_of_the_trash(request, target):
                raise Transient("Restored", "its volume was in the trash.", 0.1, quiet=True) from error
            raise
        if volume.phase is fields.Phase.READY:
            return volume
        condition = volume.condition
        if volume.phase in (fields.Phase.PENDING, fields.Phase.WORKING):
            self._tell_progress(request, target, volume, begun)
            raise Transient("Working", f"{what}: {volume.bytes_done} bytes done.", self._poll_s, quiet=True)
        code = code_of(condition.code) if condition else f"Volume{volume.phase.capitalize()}"
        why = condition.detail if condition else f"it is {volume.phase}, and the target does not say why"
        raise Transient(code, f"{what} on target {target.name}: {why}", DELAYS_S["image-failed"])

    def _start_over(self, request: ClaimRequest, target: Target) -> bool:
        """Remove what was begun before the claim's class or annotation was corrected. Never what a PV names."""
        with suppress(NotFound):
            self._kube.get(volume_path(request.volume_id))
            return False
        there = target.call("look at what was begun", lambda client: client.get_volume(request.volume_id))
        if there is not None and echo.owner(there.owner) != volumes.owner(self._identity, request.claim):
            return False
        self._remove(target, request.volume_id)
        return True

    def _take_out_of_the_trash(self, request: ClaimRequest, target: Target) -> bool:
        """What the sweep put there while the claim was gone, as from a cluster that is restored twice."""
        there = target.call("look at what is there", lambda client: client.get_volume(request.volume_id))
        if there is None or there.trashed_at is None:
            return False
        if echo.owner(there.owner) != volumes.owner(self._identity, request.claim):
            return False
        target.call("take it out of the trash", lambda client: client.restore_volume(request.volume_id))
        return True

    def _leave(self, request: ClaimRequest, begun: Begun, target: str, secret: SecretName | None) -> None:
        """Its annotation or its class was corrected after the volume was begun: nothing stays where that was."""
        with suppress(NotFound):
            self._kube.get(volume_path(request.volume_id))
            raise Transient("Echo", "its PV is there, and not in the cache yet.", 5.0, quiet=True)
        if begun.target != target:
            self._remove(self._targets.require(begun.target), request.volume_id)
            log.info("removed what was begun on another target", target=begun.target)
            begun.target = target
        if begun.secret not in (None, secret):
            self._keeper.delete_secret(begun.secret)
        begun.secret = secret

    def _remove(self, target: Target, volume_id: str) -> None:
        target.call("remove the export", lambda client: client.delete_export(volume_id))
        target.call("remove the volume", lambda client: client.delete_volume(volume_id))

    def _tell_progress(self, request: ClaimRequest, target: Target, volume: responses.Volume, begun: Begun) -> None:
        step = PROGRESS_STEPS * volume.bytes_done // volume.bytes_total if volume.bytes_total else 0
        if step <= begun.progress:
            return
        begun.progress = step
        share = f"{100 * step // PROGRESS_STEPS}%" if volume.bytes_total else "begun"
        what = {
            CatalogueImage: "from its image",
            UrlImage: "from the image at its URL",
            Clone: "from the claim it clones",
            Empty: "with zeros",
        }[type(request.source)]
        message = f"Volume {request.volume_id} is being filled {what} on target {target.name}: {share}"
        self._recorder.normal(subject(request.claim), "Provisioning", message)

    def _export(self, request: ClaimRequest, target: Target, chap: requests.Chap | None) -> responses.Export:
        spec = volumes.export_spec(request, self._identity, chap)

        def ensure(client: TargetClient) -> responses.Export:
            try:
                return client.ensure_export(request.volume_id, spec)
            except ApiProblem as problem:
                if problem.code != "precondition-required":
                    raise
                return client.change_export(request.volume_id, spec)

        export = target.call(f"export volume {request.volume_id}", ensure)
        if not export.portals:
            raise Transient("NoPortal", f"target {target.name} serves nothing yet.", 2.0)
        return export

    # -- the cluster's part ------------------------------------------------------------------------------

    def _publish(
        self,
        request: ClaimRequest,
        target: Target,
        export: responses.Export,
        size_bytes: int,
        secret: SecretName | None,
    ) -> None:
        pv = volumes.persistent_volume(request, self._identity, target.settings, export, size_bytes, secret)
        try:
            self._kube.create(VOLUMES, pv)
        except AlreadyExists:
            there = self._kube.get(volume_path(request.volume_id))
            if (there["spec"].get("claimRef") or {}).get("uid") != request.claim.uid:
                raise Permanent(
                    "NameTaken",
                    f"a PersistentVolume {request.volume_id} exists and is not this claim's; delete or rename it.",
                ) from None
