"""CHAP credentials and their Secrets: derived, written, replaced, and never read."""

from __future__ import annotations

import structlog

from target_image.agent import wire
from target_image.client import TargetClient

from . import volumes
from .claims import ClaimName, ClaimRequest
from .errors import AlreadyExists, NotFound, Permanent, Transient
from .events import Recorder, Subject
from .kube import Kube, secrets_path, volume_path
from .plan import Secure
from .settings import ChapSettings
from .targets import Targets
from .volumes import GENERATION, Identity, SecretName

log = structlog.get_logger()

AGENT_WAITS = {"InUse", "StartGrace"}
"""The agent's answers (provisioner.targets.code_of) that only mean: a session lives, or may still come back."""


class Keeper:
    """Keeps what is needed to log in. Thread-safe."""

    def __init__(
        self,
        kube: Kube,
        targets: Targets,
        recorder: Recorder,
        identity: Identity,
        master_key: bytes | None,
        settings: ChapSettings,
    ) -> None:
        self._kube = kube
        self._targets = targets
        self._recorder = recorder
        self._identity = identity
        self._master_key = master_key
        self._settings = settings
        self._due: set[str] = set()
        """PVs whose Secret is to be written again, though nothing asks for it: it cannot be read."""

    def recheck(self, pv: str) -> None:
        """See to this PV's Secret at its next turn."""
        self._due.add(pv)

    def credentials(self, request: ClaimRequest) -> tuple[wire.Chap | None, SecretName | None]:
        """CHAP for a new volume and where its Secret goes; None where its class wants none."""
        parameters = request.storage_class.parameters
        if parameters.chap == "off":
            return None, None
        chap = self._derive(request.volume_id, request.generation, mutual=parameters.chap == "mutual")
        namespace = parameters.chap_secret_namespace or self._settings.secret_namespace or request.claim.namespace
        return chap, volumes.secret_name(request.volume_id, namespace)

    def write_secret(self, name: SecretName, volume_id: str, chap: wire.Chap, claim: ClaimName | None) -> None:
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
        """The Secret as it shall be, where that is due; first another password on the target where one is.

        Raises Transient while sessions of the same claim live: QEMU keeps the old password, and would not get
        in again after the next break of its connection.
        """
        assert step.volume.secret is not None  # noqa: S101 (plan_volume)
        if not step.rotate and step.volume.name not in self._due:
            return
        chap = self._derive(step.volume.volume_id, step.generation, mutual=step.volume.mutual)
        if step.rotate:
            self._rotate(step, chap)
        body = volumes.secret(step.volume.secret, step.volume.volume_id, chap, self._identity, step.claim)
        path = secrets_path(step.volume.secret.namespace)
        try:
            self._kube.replace(f"{path}/{step.volume.secret.name}", body)
        except NotFound:
            self._kube.create(path, body)
            log.info("the CHAP secret was missing and is there again")
        self._due.discard(step.volume.name)
        if step.rotate:
            # Last, so that a crash before it does all of it again: each part may be repeated.
            self._kube.patch(
                volume_path(step.volume.name), {"metadata": {"annotations": {GENERATION: step.generation}}}
            )
            self._recorder.normal(
                Subject("PersistentVolumeClaim", step.claim.namespace, step.claim.name, step.claim.uid),
                "CHAPRotated",
                f"The CHAP password of volume {step.volume.volume_id} was replaced; its Secret is "
                f"{step.volume.secret.namespace}/{step.volume.secret.name}",
            )

    def _rotate(self, step: Secure, chap: wire.Chap) -> None:
        volume_id = step.volume.volume_id

        def change(client: TargetClient) -> None:
            export = client.get_export(volume_id)
            if export is None:
                raise Transient(
                    "ExportMissing", f"volume {volume_id} is not exported; see lundock-provisioner sweep.", 60.0
                )
            if export.sessions and step.wait_for_sessions:
                raise Transient(
                    "CHAPRotationWaiting",
                    f"the password is replaced when the last of {export.sessions} sessions has ended; stop the VM.",
                    15.0,
                )
            spec = wire.ExportSpec(
                iqn=export.iqn, luns=export.luns, access=export.access, chap=chap, owner=export.owner
            )
            client.change_export(volume_id, spec)

        try:
            self._targets.require(step.volume.target).call(f"replace the password of {volume_id}", change)
        except Transient as error:
            if error.code not in AGENT_WAITS:
                raise
            raise Transient("CHAPRotationWaiting", error.detail, error.delay_s) from error

    def _derive(self, volume_id: str, generation: str, *, mutual: bool) -> wire.Chap:
        if self._master_key is None:
            raise Permanent(
                "NoMasterKey",
                "CHAP needs chap.masterKeyFile in the provisioner's configuration; set it, or use a StorageClass with "
                "the parameter chap: off.",
            )
        return volumes.chap(self._master_key, volume_id, generation, mutual=mutual)
