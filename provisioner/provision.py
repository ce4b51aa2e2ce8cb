"""Carries out a claim's Provision step: makes the volume (`making`), writes its PV, posts the claim's event."""

from __future__ import annotations

import structlog

from lundock_common.kubernetes_api import VOLUMES, AlreadyExists, volume_path
from provisioner.context import Context, claim_subject
from provisioner.errors import Permanent
from provisioner.kube.informer import Informer
from provisioner.making import SOON_S, Made, Maker
from provisioner.outcomes import Again, Done, Outcome
from provisioner.planning import volumes
from provisioner.planning.claims import ClaimName, ClaimRequest, source_label

log = structlog.get_logger()


class Provisioning:
    """Gives claims their PVs. Thread-safe; one claim is worked on by one thread at a time."""

    def __init__(self, context: Context, claims: Informer, maker: Maker) -> None:
        self._context = context
        self._claims = claims
        self._maker = maker

    def run(self, request: ClaimRequest) -> Outcome:
        """One attempt; Done when the PV is there.

        Raises:
            Permanent: wrong input.
            Transient: not now.
        """
        made = self._maker.make(request)
        if isinstance(made, Again):
            return made
        if not self._is_wanted(request.claim):
            return Again(SOON_S, "the claim was deleted while its volume was made")
        self._write_pv(request, made)
        self._maker.forget(request.claim)
        metrics, labels = self._context.metrics, (request.storage_class.name, source_label(request.source))
        metrics.provisioned.labels(*labels).inc()
        metrics.provision_s.labels(*labels).observe(made.seconds)
        message = f"Successfully provisioned volume {request.volume_id}"
        self._context.recorder.normal(claim_subject(request.claim), "ProvisioningSucceeded", message)
        log.info("provisioned", target=made.target.name, size_bytes=made.size_bytes)
        return Done()

    def _is_wanted(self, name: ClaimName) -> bool:
        claim = self._claims.get(str(name))
        return (
            claim is not None
            and claim["metadata"]["uid"] == name.uid
            and not claim["metadata"].get("deletionTimestamp")
        )

    def _write_pv(self, request: ClaimRequest, made: Made) -> None:
        kube, identity = self._context.kube, self._context.identity
        settings = made.target.settings
        pv = volumes.persistent_volume(request, identity, settings, made.export, made.size_bytes, made.secret)
        try:
            kube.create(VOLUMES, pv)
        except AlreadyExists:
            there = kube.get(volume_path(request.volume_id))
            if (there["spec"].get("claimRef") or {}).get("uid") != request.claim.uid:
                raise Permanent(
                    "NameTaken",
                    f"a PersistentVolume {request.volume_id} exists and is not this claim's; delete or rename it.",
                ) from None
