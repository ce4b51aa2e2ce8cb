"""Which cluster this is, and who we are in it."""

from __future__ import annotations

from lundock_common.kubernetes_api import Kube
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings


def of(kube: Kube, settings: Settings) -> Identity:
    """What volumes and PVs record of us. A cluster is known by the UID of its kube-system namespace.

    Raises:
        Refused, OutcomeUnknown: the API server does not say.
    """
    uid = str(kube.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])
    return Identity(settings.provisioner_name, settings.release, uid, settings.iqn_prefix)
