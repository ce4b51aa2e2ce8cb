"""What every part of the running provisioner works with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lundock_common.kubernetes_api import Json, Kube
from provisioner.kube.events import Recorder, Subject
from provisioner.kube.informer import Informer
from provisioner.observing.metrics import Metrics
from provisioner.planning.claims import ClaimName
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings
from provisioner.targets import Targets


@dataclass(frozen=True)
class Context:
    """The way to the API server and to the targets, and who we are."""

    kube: Kube
    targets: Targets
    recorder: Recorder
    metrics: Metrics
    identity: Identity
    settings: Settings


@dataclass(frozen=True)
class Caches:
    """The cluster's objects as last seen. They are shared: never change one."""

    claims: Informer
    classes: Informer
    pvs: Informer


def claim_subject(claim: ClaimName) -> Subject:
    """The claim as what an event is about."""
    return Subject("PersistentVolumeClaim", claim.namespace, claim.name, claim.uid)


def secret_namespaces(classes: Iterable[Json], settings: Settings) -> set[str]:
    """Every namespace that CHAP Secrets may be in, besides the claims' own."""
    ours = (item for item in classes if item["provisioner"] == settings.provisioner_name)
    names = {(item.get("parameters") or {}).get("chapSecretNamespace", "") for item in ours}
    return (names | {settings.chap.secret_namespace}) - {""}
