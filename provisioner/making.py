"""The one way to make a volume: place it, fill it, export it, write its Secret.

Every step may be repeated, and their order is what makes a crash harmless: the target is noted on the claim before
anything is made there, and the PV, which says that the volume exists, is written by the caller afterwards.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from lundock_common.kubernetes_api import Conflict, NotFound, claim_path, volume_path
from provisioner.context import Caches, Context, claim_subject
from provisioner.credentials import Credentials
from provisioner.errors import Permanent, Transient
from provisioner.outcomes import Again
from provisioner.planning import placement, volumes
from provisioner.planning.claims import TARGET, CatalogueImage, ClaimName, ClaimRequest, Clone, Empty, UrlImage
from provisioner.planning.claims import volume_id as volume_id_of
from provisioner.planning.volumes import SecretName
from provisioner.sources import Sources
from provisioner.targets import DELAYS_S, Target, code_of
from target_image.api import fields, responses
from target_image.api.problems import Code

log = structlog.get_logger()

PROGRESS_STEPS = 4
"""A long import says so at each quarter."""

SOON_S = 0.1
"""When to go on after something was put right."""

ECHO_S = 5.0
"""When the cache has seen what was just made."""


@dataclass(frozen=True)
class Made:
    """A volume that is there, exported, and whose Secret is written."""

    target: Target
    export: responses.Export
    size_bytes: int
    secret: SecretName | None
    seconds: float
    """Since it was first attempted."""


@dataclass
class Attempt:
    """Unfinished work for a claim, which may be deleted before the work is done."""

    target: str
    secret: SecretName | None
    since: float
    progress: int = -1


class Maker:
    """Makes volumes. Thread-safe; one claim is worked on by one thread at a time."""

    def __init__(self, context: Context, caches: Caches, credentials: Credentials) -> None:
        self._context = context
        self._caches = caches
        self._credentials = credentials
        self._sources = Sources(context, caches)
        self._attempts: dict[str, Attempt] = {}
        """By the claim's uid. Lost with the process: the sweep finds what that leaves."""

    def make(self, request: ClaimRequest) -> Made | Again:
        """One attempt; Again while the target fills the volume, or when something has to be looked at once more.

        Raises:
            Permanent: wrong input.
            Transient: not now; says why, and what to do.
        """
        target = self._choose_and_note_target(request)
        if isinstance(target, Again):
            return target
        login = self._credentials.of(request)
        secret = login.secret if login else None
        attempt = self._attempts.setdefault(request.claim.uid, Attempt(target.name, secret, time.monotonic()))
        if (attempt.target, attempt.secret) != (target.name, secret):
            if self._pv_exists(request.volume_id):
                return Again(ECHO_S, "its PV exists, and the cache does not show it yet")
            self._remove_earlier(request, attempt, target.name, secret)
        volume = self._fill(request, target, attempt)
        if isinstance(volume, Again):
            return volume
        spec = volumes.export_spec(request, self._context.identity, login.chap if login else None)
        export = target.ensure_export(request.volume_id, spec)
        if not export.portals:
            raise Transient("NoPortal", f"target {target.name} serves nothing yet.", 2.0)
        if login is not None:
            self._credentials.write(login, request.volume_id, request.claim)
        return Made(target, export, volume.size_bytes, secret, time.monotonic() - attempt.since)

    def forget(self, claim: ClaimName) -> None:
        """Its PV is there: from now on that says what belongs to the claim."""
        self._attempts.pop(claim.uid, None)

    def abandon(self, claim: ClaimName) -> None:
        """Remove the unfinished work for a deleted claim, unless its PV was written after all."""
        attempt = self._attempts.get(claim.uid)
        if attempt is None:
            return
        volume_id = volume_id_of(claim.uid)
        if not self._pv_exists(volume_id):
            target = self._context.targets.require(attempt.target)
            self._remove(target, volume_id)
            if attempt.secret is not None:
                self._credentials.delete(attempt.secret)
            log.info("removed what was begun for a claim that is gone", target=target.name)
        self.forget(claim)

    def _choose_and_note_target(self, request: ClaimRequest) -> Target | Again:
        """Choose the target, and note it on the claim before anything is made there if there was a choice."""
        targets = self._context.targets
        allowed = placement.candidates(request.storage_class, request.target, targets.settings)
        if isinstance(request.source, Clone):
            allowed = [self._sources.clone_target(request, request.source, allowed)]
        if request.target or len(targets) == 1:
            return targets[allowed[0]]
        chosen = self._already_on(request, allowed) or self._roomiest(request, allowed)
        claim = self._caches.claims.get(str(request.claim))
        if claim is None or claim["metadata"]["uid"] != request.claim.uid:
            return Again(SOON_S, "the claim is gone")
        meta = {"resourceVersion": claim["metadata"]["resourceVersion"], "annotations": {TARGET: chosen}}
        try:
            self._context.kube.patch(claim_path(request.claim.namespace, request.claim.name), {"metadata": meta})
        except Conflict:
            # With the key's own back-off: the copy here may be old for as long as a watch is silent.
            return Again(None, "the claim changed meanwhile")
        targets[chosen].count_promise(request.size_bytes)
        return targets[chosen]

    def _roomiest(self, request: ClaimRequest, allowed: list[str]) -> str:
        if len(allowed) == 1:
            return allowed[0]
        room: dict[str, int | None] = {}
        for name in allowed:
            try:
                room[name] = self._context.targets[name].available_bytes()
            except Transient:
                room[name] = None
        return placement.choose(request, room)

    def _already_on(self, request: ClaimRequest, allowed: list[str]) -> str:
        """The target that has its volume already, if there was one target only when it was started."""
        for name in allowed:
            with suppress(Transient):
                if self._context.targets[name].get_volume(request.volume_id) is not None:
                    return name
        return ""

    def _fill(self, request: ClaimRequest, target: Target, attempt: Attempt) -> responses.Volume | Again:
        """Ask the target for the volume with its content; Again until it is ready."""
        spec = volumes.volume_spec(request, self._context.identity, self._sources.ensure_on_target(request, target))
        try:
            volume = target.ensure_volume(request.volume_id, spec)
        except Permanent as error:
            if error.code == "IdentityConflict" and self._remove_other_kind(request, target):
                return Again(SOON_S, "what was begun was of another kind, and is removed")
            raise
        except Transient as error:
            if error.code == "NotReady" and self._restore_from_trash(request, target):
                return Again(SOON_S, "its volume was in the trash, and is restored")
            raise
        if volume.phase is fields.Phase.READY:
            return volume
        if volume.phase in (fields.Phase.PENDING, fields.Phase.WORKING):
            self._report_progress(request, target, volume, attempt)
            return Again(self._context.settings.target_calls.poll_seconds, f"{volume.bytes_done} bytes are filled")
        condition = volume.condition
        code = code_of(condition.code) if condition else f"Volume{volume.phase.capitalize()}"
        why = condition.detail if condition else f"it is {volume.phase}, and the target does not say why"
        what = f"make volume {request.volume_id} on target {target.name}"
        raise Transient(code, f"{what}: {why}", DELAYS_S[Code.IMAGE_FAILED])

    def _remove_other_kind(self, request: ClaimRequest, target: Target) -> bool:
        """Remove a volume that was started before its claim or class was corrected. Never what a PV names."""
        if self._pv_exists(request.volume_id) or self._belongs_to_another(
            request, target.get_volume(request.volume_id)
        ):
            return False
        self._remove(target, request.volume_id)
        return True

    def _restore_from_trash(self, request: ClaimRequest, target: Target) -> bool:
        """What the sweep put there while the claim was gone, as from a cluster that is restored twice."""
        there = target.get_volume(request.volume_id)
        if there is None or there.trashed_at is None or self._belongs_to_another(request, there):
            return False
        target.restore_volume(request.volume_id)
        return True

    def _belongs_to_another(self, request: ClaimRequest, volume: responses.Volume | None) -> bool:
        return volume is not None and not volumes.is_owned(volume, self._context.identity, request.claim)

    def _remove_earlier(self, request: ClaimRequest, attempt: Attempt, target: str, secret: SecretName | None) -> None:
        """The claim or its class was corrected after the volume was started: nothing stays at the old place."""
        if attempt.target != target:
            self._remove(self._context.targets.require(attempt.target), request.volume_id)
            log.info("removed what was begun on another target", target=attempt.target)
            attempt.target = target
        if attempt.secret is not None and attempt.secret != secret:
            self._credentials.delete(attempt.secret)
        attempt.secret = secret

    def _remove(self, target: Target, volume_id: str) -> None:
        target.delete_export(volume_id)
        target.delete_volume(volume_id)

    def _pv_exists(self, name: str) -> bool:
        with suppress(NotFound):
            self._context.kube.get(volume_path(name))
            return True
        return False

    def _report_progress(
        self, request: ClaimRequest, target: Target, volume: responses.Volume, attempt: Attempt
    ) -> None:
        step = PROGRESS_STEPS * volume.bytes_done // volume.bytes_total if volume.bytes_total else 0
        if step <= attempt.progress:
            return
        attempt.progress = step
        share = f"{100 * step // PROGRESS_STEPS}%" if volume.bytes_total else "begun"
        what = {
            CatalogueImage: "from its image",
            UrlImage: "from the image at its URL",
            Clone: "from the claim it clones",
            Empty: "with zeros",
        }[type(request.source)]
        message = f"Volume {request.volume_id} is being filled {what} on target {target.name}: {share}"
        self._context.recorder.normal(claim_subject(request.claim), "Provisioning", message)
