"""A claim in a VM's namespace -> its bound PV -> the LUN's address. Every refusal names claim, PV and fix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from lundock_common.portal import BadPortal, Portal
from vm_disks.errors import (
    BadAddress,
    BindingBroken,
    ClaimBeingDeleted,
    ClaimError,
    ClaimMissing,
    ClaimUnbound,
    ClaimUnfinished,
    CredentialsError,
    NotIscsi,
)
from vm_disks.model import ClaimSource
from vm_disks.objects import Document, listed, part
from vm_disks.resolution import chap, services
from vm_disks.resolution.address import ChapReference, LunAddress, parse_portal
from vm_disks.resolution.lookup import Lookup
from vm_disks.specs.volumes import NAME

PORTAL_OVERRIDE = "lundock.io/portal-override"
VOLUME_ID = "lundock.io/volume"
"""On a PV of Lundock's provisioner: the volume's id, which is its CHAP username too."""
MAX_LUN = 16383
"""SAM-5 section 4.7: the largest of the flat space addressing method."""

CDI_PHASE = "cdi.kubevirt.io/storage.pod.phase"
"""On a claim that CDI fills: its importer's phase, Succeeded when the data is there."""

# RFC 7143 section 4.2.7: iqn., eui. and naa. names. A "/" would end the name in libvirt's IQN/LUN.
# Nor may it have what XML cannot carry: control characters, and the halves of surrogate pairs.
IQN = (
    r"(?i)iqn\.[0-9]{4}-[0-9]{2}\.[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff/\"'<>&]{1,200}"
    r"|eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}){1,2}"
)


@dataclass(frozen=True)
class BoundLun:
    volume: str
    address: LunAddress


@dataclass(frozen=True)
class _Bound:
    """A claim and its PV, with what an error about them needs."""

    path: str
    claim_name: str
    claim: Document
    volume_name: str
    volume: Document

    def refuse(self, kind: type[ClaimError], reason: str, fix: str) -> NoReturn:
        raise kind(self.path, self.claim_name, self.volume_name, reason, fix)


def resolve(source: ClaimSource, namespace: str, path: str, lookup: Lookup) -> BoundLun:
    """The LUN behind a claim.

    Args:
        source: the claim, as a disk names it.
        namespace: the VM's, which is the claim's too.
        path: the disk's in the spec, for the message.
        lookup: where the claim and its PV are.

    Raises:
        ClaimError: the claim gives no LUN.
        CredentialsError: the Secret that the PV names for CHAP won't do.
        ClusterError: an object can't be looked up.
    """
    claim = _claim(source, namespace, path, lookup)
    bound = _volume(f"{namespace}/{source.claim}", claim, path, lookup)
    iscsi = part(bound.volume, "spec").get("iscsi")
    if not isinstance(iscsi, dict):
        bound.refuse(
            NotIscsi, f"its volume is {_kind(bound.volume)}, not iSCSI", "Use a claim of an iSCSI StorageClass"
        )
    if iscsi.get("iscsiInterface") == "iser":
        bound.refuse(
            BadAddress, "iscsiInterface is iser (RDMA); QEMU's iSCSI driver speaks TCP only", "Use a TCP portal"
        )
    iqn = str(iscsi.get("iqn") or "")
    if not re.fullmatch(IQN, iqn):
        bound.refuse(BadAddress, f"{iqn!r} is not an iSCSI name", "Correct the PV's spec.iscsi.iqn")
    return BoundLun(
        bound.volume_name,
        LunAddress(
            portals=_portals(bound, iscsi, namespace, lookup),
            iqn=iqn,
            lun=_lun(bound, iscsi),
            read_only=_flag(bound, iscsi, "readOnly") or part(claim, "spec").get("accessModes") == ["ReadOnlyMany"],
            initiator_name=_initiator(bound, iscsi),
            chap=_chap(bound, iscsi, namespace, lookup),
        ),
    )


def _claim(source: ClaimSource, namespace: str, path: str, lookup: Lookup) -> Document:
    name = f"{namespace}/{source.claim}"
    claim = lookup.claim(namespace, source.claim)
    if claim is None:
        elsewhere = [place for place in lookup.namespaces_of(source.claim) if place != namespace]
        if elsewhere:
            fix = f"There is one in {' and '.join(elsewhere)}, but a VM's claims are in its own namespace: move one"
        elif source.template:
            fix = f"KubeVirt would make it of {source.template}; without it create the DataVolume or a claim"
        elif source.data_volume:
            fix = "CDI makes it for the DataVolume of that name: create that, or name a persistentVolumeClaim"
        else:
            fix = f"Create it in namespace {namespace}, or correct claimName, or the VM's namespace (-n)"
        raise ClaimMissing(path, name, None, "there is none", fix)
    spec, status = part(claim, "spec"), part(claim, "status")
    volume = str(spec.get("volumeName") or "") or None
    if part(claim, "metadata").get("deletionTimestamp"):
        raise ClaimBeingDeleted(
            path, name, volume, "it is being deleted", "Wait until it is gone and create it anew, or use another"
        )
    phase = status.get("phase")
    if phase == "Lost":
        raise BindingBroken(path, name, volume, "its PV is gone (phase Lost)", "Delete the claim and create it anew")
    if not volume or phase not in (None, "Bound"):
        fix = f"See why: kubectl -n {namespace} describe pvc {source.claim}; from manifests, give the PV too"
        raise ClaimUnbound(path, name, volume, f"it is not bound (phase {phase or 'Pending'})", fix)
    filling = _annotations(claim).get(CDI_PHASE)
    if filling not in (None, "Succeeded"):
        fix = "Wait until it has; a VM that boots before sees half a disk"
        raise ClaimUnfinished(path, name, volume, f"CDI has not filled it yet (phase {filling})", fix)
    return claim


def _volume(name: str, claim: Document, path: str, lookup: Lookup) -> _Bound:
    volume_name = str(part(claim, "spec")["volumeName"])
    volume = lookup.volume(volume_name)
    bound = _Bound(path, name, claim, volume_name, volume or {})
    if volume is None:
        bound.refuse(BindingBroken, "there is no such PV", "Give its manifest too, or make the claim anew")
    if part(volume, "metadata").get("deletionTimestamp"):
        bound.refuse(ClaimBeingDeleted, "the PV is being deleted", "Use another claim")
    ref = part(volume, "spec").get("claimRef")
    if isinstance(ref, dict):
        holder = f"{ref.get('namespace')}/{ref.get('name')}"
        uid, claim_uid = ref.get("uid"), part(claim, "metadata").get("uid")
        if holder != name:
            bound.refuse(BindingBroken, f"the PV is bound to {holder}", "Use that claim, in its namespace")
        if uid and claim_uid and uid != claim_uid:
            bound.refuse(
                BindingBroken, "the PV belongs to an earlier claim of this name", "Delete the claim and create it anew"
            )
    return bound


def _portals(bound: _Bound, iscsi: Document, namespace: str, lookup: Lookup) -> tuple[Portal, ...]:
    """targetPortal first. From outside the cluster, the PV's annotation says the one that can be reached."""
    override = _annotations(bound.volume).get(PORTAL_OVERRIDE)
    if override and not lookup.inside_cluster:
        return (_portal(bound, override, f"annotation {PORTAL_OVERRIDE}"),)
    named = [iscsi.get("targetPortal"), *listed(iscsi, "portals")]
    portals = [_portal(bound, text, "spec.iscsi") for text in named]
    if not lookup.inside_cluster:
        portals = [services.from_outside(portal, namespace, lookup) for portal in portals]
    return tuple(dict.fromkeys(portals))


def _portal(bound: _Bound, text: Any, place: str) -> Portal:
    try:
        return parse_portal(text if isinstance(text, str) else "")
    except BadPortal as error:
        bound.refuse(BadAddress, str(error), f"Correct the PV's {place}")


def _flag(bound: _Bound, iscsi: Document, name: str) -> bool:
    """A "true" in quotes, taken for false, would let a VM write to what is read-only."""
    value = iscsi.get(name)
    if not isinstance(value, (bool, type(None))):
        bound.refuse(BadAddress, f"{name} {value!r} is not true or false", f"Correct the PV's spec.iscsi.{name}")
    return bool(value)


def _lun(bound: _Bound, iscsi: Document) -> int:
    lun = iscsi.get("lun", 0)
    if isinstance(lun, bool) or not isinstance(lun, int) or not 0 <= lun <= MAX_LUN:
        bound.refuse(BadAddress, f"LUN {lun!r} is not a number from 0 to {MAX_LUN}", "Correct the PV's spec.iscsi.lun")
    return lun


def _initiator(bound: _Bound, iscsi: Document) -> str | None:
    name = iscsi.get("initiatorName")
    if name is None:
        return None
    if not re.fullmatch(IQN, str(name)):
        bound.refuse(
            BadAddress, f"initiatorName {name!r} is not an iSCSI name", "Correct the PV's spec.iscsi.initiatorName"
        )
    return str(name)


def _chap(bound: _Bound, iscsi: Document, namespace: str, lookup: Lookup) -> ChapReference | None:
    """QEMU makes no discovery session, so chapAuthDiscovery alone asks for nothing here."""
    if not _flag(bound, iscsi, "chapAuthSession"):
        return None
    ref = iscsi.get("secretRef")
    if not isinstance(ref, dict) or not ref.get("name"):
        bound.refuse(BadAddress, "chapAuthSession is true, but no secretRef says with what", "Add spec.iscsi.secretRef")
    name, place = str(ref["name"]), str(ref.get("namespace") or namespace)
    if not (re.fullmatch(NAME, name) and re.fullmatch(NAME, place)):
        bound.refuse(BadAddress, f"secretRef {place}/{name} is no name", "Correct the PV's spec.iscsi.secretRef")
    volume_id = _annotations(bound.volume).get(VOLUME_ID)
    if isinstance(volume_id, str) and re.fullmatch(NAME, volume_id):  # known without the right to read Secrets
        return ChapReference(place, name, volume_id)
    secret = lookup.secret(place, name)
    try:
        return ChapReference(place, name, chap.read(secret, f"{place}/{name}").username)
    except CredentialsError as error:
        raise CredentialsError(
            error.secret,
            f"{error.reason} (needed by {bound.path}: claim {bound.claim_name}, PV {bound.volume_name})",
            error.fix,
        ) from None


def _kind(volume: Document) -> str:
    """The volume's source: the field of its spec that is one."""
    plain = {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
    return " and ".join(sorted(map(str, part(volume, "spec").keys() - plain))) or "of no kind"


def _annotations(document: Document) -> Document:
    return part(document, "metadata", "annotations")
