"""What is needed to log in: the export, and the CHAP Secret: derived, written, replaced, and never read."""

from __future__ import annotations

import structlog

from provisioner.errors import AlreadyExists, NotFound, Permanent, Transient
from provisioner.kube.client import Kube, secrets_path, volume_path
from provisioner.kube.events import Recorder, Subject
from provisioner.kube.informer import Informer
from provisioner.planning import volumes
from provisioner.planning.claims import ClaimName, ClaimRequest, read_class
from provisioner.planning.plan import Secure
from provisioner.planning.volumes import GENERATION, Identity, SecretName
from provisioner.settings import ChapSettings
from provisioner.targets import Target, Targets
from target_image.api import echo, requests, responses

log = structlog.get_logger()

AGENT_WAITS = {"InUse", "StartGrace"}
"""The agent's answers (provisioner.targets.code_of) that only mean: a session lives, or may still come back."""


class Keeper:
    """Keeps what is needed to log in. Thread-safe."""

    def __init__(
        self,
        kube: Kube,
        targets: Targets,
        classes: Informer,
        recorder: Recorder,
        identity: Identity,
        master_key: bytes | None,
        settings: ChapSettings,
    ) -> None:
        self._kube = kube
        self._targets = targets
        self._classes = classes
        self._recorder = recorder
        self._identity = identity
        self._master_key = master_key
        self._settings = settings
        self._due: set[str] = set()
        """PVs that are due though nothing asks for it: their Secret cannot be read, and is written again."""

    def recheck(self, pv: str) -> None:
        """See to this PV's export and Secret at its next turn."""
        self._due.add(pv)

    def credentials(self, request: ClaimRequest) -> tuple[requests.Chap | None, SecretName | None]:
        """CHAP for a new volume and where its Secret goes; None where its class wants none."""
        parameters = request.storage_class.parameters
        if parameters.chap == "off":
            return None, None
        chap = self._derive(request.volume_id, request.generation, mutual=parameters.chap == "mutual")
        namespace = parameters.chap_secret_namespace or self._settings.secret_namespace or request.claim.namespace
        return chap, volumes.secret_name(request.volume_id, namespace)

    def write_secret(self, name: SecretName, volume_id: str, chap: requests.Chap, claim: ClaimName | None) -> None:
        """Make it, or replace what is there: which of the two is found out without reading it."""
        body = volumes.secret(name, volume_id, chap, self._identity, claim)
        path = secrets_path(name.namespace)
        try:
            self._kube.create(path, body)
        except AlreadyExists:
            self._kube.replace(f"{path}/{name.name}", body)

    def delete_secret(self, name: SecretName) -> None:
        self._kube.delete(f"{secrets_path(name.namespace)}/{name.name}")

    def secure(self, step: Secure) -> None:
        """Export and Secret as they shall be, where that is due; another password on the target first where one is.

        Raises Transient while sessions of the same claim live: QEMU keeps the old password, and would not get
        in again after the next break of its connection.
        """
        volume = step.volume
        if not step.rotate and volume.name not in self._due:
            return
        chap = self._derive(volume.volume_id, step.generation, mutual=volume.mutual) if volume.secret else None
        target = self._targets.require(volume.target)
        export = target.call("look for the export", lambda client: client.get_export(volume.volume_id))
        if export is None:
            self._export_again(step, target, chap)
        elif step.rotate:
            self._rotate(step, target, export, chap)
        if volume.secret is not None and chap is not None:
            body = volumes.secret(volume.secret, volume.volume_id, chap, self._identity, step.claim)
            path = secrets_path(volume.secret.namespace)
            try:
                self._kube.replace(f"{path}/{volume.secret.name}", body)
            except NotFound:
                self._kube.create(path, body)
                log.info("the CHAP secret was missing and is there again")
        self._due.discard(volume.name)
        if step.rotate:
            # Last, so that a crash before it does all of it again: each part may be repeated.
            self._kube.patch(volume_path(volume.name), {"metadata": {"annotations": {GENERATION: step.generation}}})
            message = f"The CHAP password of volume {volume.volume_id} was replaced; its Secret is "
            secret = f"{volume.secret.namespace}/{volume.secret.name}" if volume.secret else "none"
            self._recorder.normal(_claim(step), "CHAPRotated", message + secret)

    def _rotate(self, step: Secure, target: Target, export: responses.Export, chap: requests.Chap | None) -> None:
        volume_id = step.volume.volume_id
        if export.sessions and step.wait_for_sessions:
            raise Transient(
                "CHAPRotationWaiting",
                f"the password is replaced when the last of {export.sessions} sessions has ended; stop the VM.",
                15.0,
            )
        spec = echo.export_spec(export, chap)
        try:
            target.call(f"replace the password of {volume_id}", lambda client: client.change_export(volume_id, spec))
        except Transient as error:
            if error.code not in AGENT_WAITS:
                raise
            raise Transient("CHAPRotationWaiting", error.detail, error.delay_s) from error

    def _export_again(self, step: Secure, target: Target, chap: requests.Chap | None) -> None:
        """The sweep took a volume for an orphan while its PV was away, or the target came back from a backup."""
        volume = step.volume
        there = target.call("look for the volume", lambda client: client.get_volume(volume.volume_id))
        if there is None:
            raise Transient(
                "VolumeMissing",
                f"volume {volume.volume_id} is not on target {target.name}; restore the target's data from a backup, "
                "or delete the claim.",
                300.0,
            )
        storage_class = self._classes.get(volume.storage_class)
        if storage_class is None:
            raise Permanent(
                "ExportMissing",
                f"volume {volume.volume_id} is not exported any more, and StorageClass {volume.storage_class}, which "
                "says who may log in, is gone; create the class again.",
            )
        allowed = read_class(storage_class).parameters
        spec = requests.ExportSpec(
            iqn=volumes.iqn(self._identity, volume.volume_id),
            luns=[requests.Lun(lun=volumes.LUN, volume=volume.volume_id, read_only=volume.read_only)],
            access=requests.Access(initiators=list(allowed.initiators), networks=list(allowed.networks)),
            chap=chap,
            owner=echo.owner(there.owner),
        )
        if there.trashed_at is not None:
            target.call("take it out of the trash", lambda client: client.restore_volume(volume.volume_id))
        what = f"export volume {volume.volume_id} again"
        target.call(what, lambda client: client.ensure_export(volume.volume_id, spec))
        log.warning("the export was missing and is there again", target=target.name)
        message = f"Volume {volume.volume_id} was not exported any more, and is again"
        self._recorder.normal(_claim(step), "ExportRestored", message)

    def _derive(self, volume_id: str, generation: str, *, mutual: bool) -> requests.Chap:
        if self._master_key is None:
            raise Permanent(
                "NoMasterKey",
                "CHAP needs chap.masterKeyFile in the provisioner's configuration; set it, or use a StorageClass with "
                "the parameter chap: off.",
            )
        return volumes.chap(self._master_key, volume_id, generation, mutual=mutual)


def _claim(step: Secure) -> Subject:
    return Subject("PersistentVolumeClaim", step.claim.namespace, step.claim.name, step.claim.uid)
