"""Keeps bound volumes reachable: their exports and CHAP Secrets as they must be, also after a rotation or a loss."""

from __future__ import annotations

import structlog

from lundock_common.kubernetes_api import volume_path
from provisioner.context import Caches, Context, claim_subject
from provisioner.credentials import Credentials, Login
from provisioner.errors import Permanent, Transient
from provisioner.planning import volumes
from provisioner.planning.claims import read_class
from provisioner.planning.plan import Secure
from provisioner.planning.volumes import GENERATION
from provisioner.targets import Target
from target_image.api import echo, requests, responses

log = structlog.get_logger()

AGENT_WAITS = {"InUse", "StartGrace"}
"""The agent's answers (provisioner.targets.code_of) that only mean: a session lives, or may still come back."""


class Keeper:
    """Thread-safe."""

    def __init__(self, context: Context, caches: Caches, credentials: Credentials) -> None:
        self._context = context
        self._caches = caches
        self._credentials = credentials
        self._due: set[str] = set()
        """PVs that are due though nothing asks for it: their Secret cannot be read, and is written again."""

    def recheck(self, pv: str) -> None:
        """See to this PV's export and Secret at its next turn."""
        self._due.add(pv)

    def secure(self, step: Secure) -> None:
        """Make export and Secret what they must be, where that is due; with `rotate`, another password first.

        Raises:
            Transient: sessions of the same claim live. QEMU keeps the old password, and would not get in again after
                the next break of its connection.
        """
        volume = step.volume
        if not step.rotate and volume.name not in self._due:
            return
        login = None
        if volume.secret is not None:
            chap = self._credentials.derive(volume.volume_id, step.generation, mutual=volume.mutual)
            login = Login(chap, volume.secret)
        target = self._context.targets.require(volume.target)
        export = target.get_export(volume.volume_id)
        if export is None:
            self._restore_export(step, target, login)
        elif step.rotate:
            self._replace_password(step, target, export, login)
        if login is not None and self._credentials.replace(login, volume.volume_id, step.claim):
            log.info("the CHAP secret was missing and is there again")
        self._due.discard(volume.name)
        if step.rotate:
            # Last, so that a crash before it does all of it again: each part may be repeated.
            notes = {"metadata": {"annotations": {GENERATION: step.generation}}}
            self._context.kube.patch(volume_path(volume.name), notes)
            secret = f"{volume.secret.namespace}/{volume.secret.name}" if volume.secret else "none"
            message = f"The CHAP password of volume {volume.volume_id} was replaced; its Secret is {secret}"
            self._context.recorder.normal(claim_subject(step.claim), "CHAPRotated", message)

    def _replace_password(self, step: Secure, target: Target, export: responses.Export, login: Login | None) -> None:
        volume_id = step.volume.volume_id
        if export.sessions and step.wait_for_sessions:
            raise Transient(
                "CHAPRotationWaiting",
                f"the password is replaced when the last of {export.sessions} sessions has ended; stop the VM.",
                15.0,
            )
        spec = echo.export_spec(export, login.chap if login else None)
        try:
            target.change_password(volume_id, spec)
        except Transient as error:
            if error.code not in AGENT_WAITS:
                raise
            raise Transient("CHAPRotationWaiting", error.detail, error.delay_s) from error

    def _restore_export(self, step: Secure, target: Target, login: Login | None) -> None:
        """The sweep took a volume for an orphan while its PV was away, or the target came back from a backup."""
        volume = step.volume
        there = target.get_volume(volume.volume_id)
        if there is None:
            raise Transient(
                "VolumeMissing",
                f"volume {volume.volume_id} is not on target {target.name}; restore the target's data from a backup, "
                "or delete the claim.",
                300.0,
            )
        storage_class = self._caches.classes.get(volume.storage_class)
        if storage_class is None:
            raise Permanent(
                "ExportMissing",
                f"volume {volume.volume_id} is not exported any more, and StorageClass {volume.storage_class}, which "
                "says who may log in, is gone; create the class again.",
            )
        allowed = read_class(storage_class).parameters
        spec = requests.ExportSpec(
            iqn=volumes.iqn(self._context.identity, volume.volume_id),
            luns=[requests.Lun(lun=volumes.LUN, volume=volume.volume_id, read_only=volume.read_only)],
            access=requests.Access(initiators=list(allowed.initiators), networks=list(allowed.networks)),
            chap=login.chap if login else None,
            owner=echo.owner(there.owner),
        )
        if there.trashed_at is not None:
            target.restore_volume(volume.volume_id)
        target.ensure_export(volume.volume_id, spec)
        log.warning("the export was missing and is there again", target=target.name)
        message = f"Volume {volume.volume_id} was not exported any more, and is again"
        self._context.recorder.normal(claim_subject(step.claim), "ExportRestored", message)
