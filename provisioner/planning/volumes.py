"""What a request becomes: the target's specs, the PersistentVolume and the CHAP Secret (pure)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from lundock_common import quantity
from lundock_common.portal import Portal
from provisioner.planning.claims import TARGET, ClaimName, ClaimRequest
from provisioner.settings import ChapSettings, TargetSettings
from target_image.api import echo, requests, responses

Json = dict[str, Any]

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
VOLUME = "lundock.io/volume"
"""On a PV: the volume's id on the target; agrees with the IQN, whatever claim is bound."""
RELEASE = "lundock.io/release"
GENERATION = "lundock.io/chap-generation"
"""On a PV: which CHAP password is in force."""
MUTUAL = "lundock.io/chap-mutual"

LUN = 1
"""One target per volume, so always the same one: nothing to allocate, nothing used again."""


@dataclass(frozen=True)
class Identity:
    """Who this provisioner is."""

    provisioner: str
    release: str
    cluster: str
    """UID of the kube-system namespace: the nearest thing to a cluster's own id."""
    iqn_prefix: str


@dataclass(frozen=True)
class SecretName:
    namespace: str
    name: str


def iqn(identity: Identity, volume_id: str) -> str:
    return f"{identity.iqn_prefix}:{volume_id}"


def owner(identity: Identity, claim: ClaimName) -> requests.Owner:
    return requests.Owner(
        cluster=identity.cluster,
        release=identity.release,
        namespace=claim.namespace,
        claim=claim.name,
        claim_uid=claim.uid,
    )


def is_owned(volume: responses.Volume, identity: Identity, claim: ClaimName) -> bool:
    """Whether the volume was made by this release for this claim."""
    return echo.owner(volume.owner) == owner(identity, claim)


def volume_spec(request: ClaimRequest, identity: Identity, source: requests.Source) -> requests.VolumeSpec:
    return requests.VolumeSpec(
        size_bytes=request.size_bytes,
        source=source,
        owner=owner(identity, request.claim),
        thin=request.storage_class.parameters.thin,
    )


def export_spec(request: ClaimRequest, identity: Identity, chap: requests.Chap | None) -> requests.ExportSpec:
    parameters = request.storage_class.parameters
    return requests.ExportSpec(
        iqn=iqn(identity, request.volume_id),
        luns=[requests.Lun(lun=LUN, volume=request.volume_id, read_only=request.read_only)],
        access=requests.Access(initiators=list(parameters.initiators), networks=list(parameters.networks)),
        chap=chap,
        owner=owner(identity, request.claim),
    )


def chap(master_key: bytes, volume_id: str, generation: str, *, mutual: bool) -> requests.Chap:
    """The credentials of a volume: the same ones whenever they are asked for, and nowhere stored.

    Names are the volume's own, since a tgt account is known to the whole daemon; the two passwords differ,
    as RFC 7143 section 12.1.4 demands.
    """

    def password(direction: str) -> str:
        text = f"{direction}\n{volume_id}\n{generation}".encode()
        return base64.urlsafe_b64encode(hmac.digest(master_key, text, hashlib.sha256)[:24]).decode()

    return requests.Chap.model_validate(
        {
            "username": volume_id,
            "password": password("initiator"),
            **({"mutual_username": f"{volume_id}-in", "mutual_password": password("target")} if mutual else {}),
        }
    )


def secret_name(volume_id: str, namespace: str) -> SecretName:
    return SecretName(namespace, f"{volume_id}-chap")


def secret_of(request: ClaimRequest, settings: ChapSettings) -> SecretName:
    """Where the Secret of a new volume is: in the namespace of its class, else the configured one, else its claim's."""
    named = request.storage_class.parameters.chap_secret_namespace or settings.secret_namespace
    return secret_name(request.volume_id, named or request.claim.namespace)


def secret(name: SecretName, volume_id: str, chap: requests.Chap, identity: Identity, claim: ClaimName | None) -> Json:
    """The Secret as kubelet and libvirt read it. A claim of the same namespace owns it, and takes it along."""
    data = {"node.session.auth.username": chap.username, "node.session.auth.password": chap.password.get_secret_value()}
    if chap.mutual_username and chap.mutual_password:
        data["node.session.auth.username_in"] = chap.mutual_username
        data["node.session.auth.password_in"] = chap.mutual_password.get_secret_value()
    meta: Json = {
        "name": name.name,
        "namespace": name.namespace,
        "labels": {"app.kubernetes.io/managed-by": "lundock-provisioner", VOLUME: volume_id},
        "annotations": {RELEASE: identity.release},
    }
    if claim is not None and claim.namespace == name.namespace:
        meta["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.name, "uid": claim.uid}
        ]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/iscsi-chap",
        "metadata": meta,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def portal(target: TargetSettings, override: str, export: responses.Export) -> str:
    """host:port as initiators dial it, for the shard that serves the export."""
    ports = target.portal_ports
    port = ports[export.shard] if export.shard < len(ports) else Portal.parse(export.portals[0]).port
    return str(Portal.parse(override, port) if override else Portal(target.portal_host, port))


def persistent_volume(
    request: ClaimRequest,
    identity: Identity,
    target: TargetSettings,
    export: responses.Export,
    size_bytes: int,
    secret: SecretName | None,
) -> Json:
    """The PV, bound in advance to its claim. `secret` None: no CHAP."""
    policy = request.storage_class
    notes = {
        PROVISIONED_BY: identity.provisioner,
        RELEASE: identity.release,
        VOLUME: request.volume_id,
        TARGET: target.name,
    }
    iscsi: Json = {
        "targetPortal": portal(target, policy.parameters.portal, export),
        "iqn": export.iqn,
        "lun": LUN,
        "iscsiInterface": "default",
        "readOnly": request.read_only,
        "chapAuthSession": secret is not None,
        "chapAuthDiscovery": False,
    }
    if request.volume_mode == "Filesystem":
        iscsi["fsType"] = policy.parameters.fs_type
    if secret is not None:
        iscsi["secretRef"] = {"name": secret.name, "namespace": secret.namespace}
        notes[GENERATION] = request.generation
        if policy.parameters.chap == "mutual":
            notes[MUTUAL] = "true"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": request.volume_id,
            "annotations": notes,
            "labels": dict(request.labels),
            "finalizers": [FINALIZER] if policy.reclaim_policy == "Delete" else [],
        },
        "spec": {
            "capacity": {"storage": quantity.render(size_bytes)},
            "accessModes": list(request.access_modes),
            "volumeMode": request.volume_mode,
            "persistentVolumeReclaimPolicy": policy.reclaim_policy,
            "storageClassName": policy.name,
            "mountOptions": list(policy.mount_options),
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": request.claim.namespace,
                "name": request.claim.name,
                "uid": request.claim.uid,
            },
            "iscsi": iscsi,
        },
    }
