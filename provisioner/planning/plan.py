"""What is seen of a claim or a volume -> what to do about it, and why (pure).

Wrong input is raised as Permanent; everything else is a step. Nothing here calls anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lundock_common import quantity
from provisioner.errors import Permanent
from provisioner.planning.claims import (
    SELECTED_NODE,
    TARGET,
    ClaimName,
    ClaimRequest,
    chap_generation,
    foreign_source,
    name_of,
    notes_of,
    provisioner_of,
    read_claim,
    requested_bytes,
    volume_id,
)
from provisioner.planning.volumes import (
    FINALIZER,
    GENERATION,
    MUTUAL,
    PROVISIONED_BY,
    RELEASE,
    VOLUME,
    Identity,
    SecretName,
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Ignore:
    """Nothing to do."""

    why: str


@dataclass(frozen=True)
class Abandon:
    """The claim is gone before it got a PV: whatever was begun for it goes."""

    claim: ClaimName


@dataclass(frozen=True)
class LeaveToPopulator:
    """A volume populator fills it; say so once."""

    kind: str


@dataclass(frozen=True)
class Provision:
    request: ClaimRequest


@dataclass(frozen=True)
class OurVolume:
    """A PV of ours, as far as its steps need it."""

    name: str
    uid: str
    volume_id: str
    target: str
    storage_class: str
    capacity_bytes: int
    read_only: bool
    secret: SecretName | None
    mutual: bool


@dataclass(frozen=True)
class Grow:
    """The LUN to at least this size, then the PV's capacity, then the claim's status."""

    volume: OurVolume
    claim: ClaimName
    size_bytes: int


@dataclass(frozen=True)
class Delete:
    """LUN, Secret and PV."""

    volume: OurVolume


@dataclass(frozen=True)
class SetFinalizers:
    """Keep the PV until its LUN is gone, or stop keeping it: the reclaim policy was changed."""

    name: str
    finalizers: tuple[str, ...]
    resource_version: str
    why: str


@dataclass(frozen=True)
class Secure:
    """The export and its CHAP Secret as they shall be, where there is CHAP; with `rotate`, another password first."""

    volume: OurVolume
    claim: ClaimName
    generation: str
    rotate: bool
    wait_for_sessions: bool
    """The same claim asked for it: a live session keeps the old password, and would need it to reconnect."""


ClaimStep = Ignore | Abandon | LeaveToPopulator | Provision | Grow
VolumeStep = Ignore | Delete | SetFinalizers | Secure


def is_ours(volume: Json, identity: Identity) -> bool:
    """Made by this provisioner and this release."""
    notes = notes_of(volume)
    return notes.get(PROVISIONED_BY) == identity.provisioner and notes.get(RELEASE) == identity.release


def our_volume(volume: Json, identity: Identity) -> OurVolume:
    """A PV as its steps need it.

    Raises:
        Permanent: VolumeMismatch: annotation and IQN do not name the same volume of ours.
    """
    meta, spec, notes = volume["metadata"], volume["spec"], notes_of(volume)
    iscsi = spec.get("iscsi") or {}
    volume_id = notes.get(VOLUME, "")
    if not volume_id or iscsi.get("iqn") != f"{identity.iqn_prefix}:{volume_id}":
        raise Permanent(
            "VolumeMismatch",
            f"the annotation {VOLUME} ({volume_id!r}) and spec.iscsi.iqn ({iscsi.get('iqn')!r}) do not name the same "
            f"volume, so nothing is touched; correct the annotation to what follows {identity.iqn_prefix}: in the IQN.",
        )
    reference = iscsi.get("secretRef")
    return OurVolume(
        name=meta["name"],
        uid=meta["uid"],
        volume_id=volume_id,
        target=notes.get(TARGET, ""),
        storage_class=spec.get("storageClassName") or "",
        capacity_bytes=quantity.parse(spec["capacity"]["storage"]),
        read_only=bool(iscsi.get("readOnly")),
        secret=SecretName(reference["namespace"], reference["name"]) if reference else None,
        mutual=notes.get(MUTUAL) == "true",
    )


def plan_claim(
    name: ClaimName, claim: Json | None, storage_class: Json | None, volume: Json | None, identity: Identity
) -> ClaimStep:
    """The step for one claim.

    Args:
        name: which claim.
        claim: the claim; None when it is gone.
        storage_class: the class that it names, if that is there.
        volume: the PV that the claim names, or else `pvc-<uid>`, if that is there.
        identity: who this provisioner is.

    Raises:
        Permanent: wrong input.
    """
    if claim is None or claim["metadata"]["uid"] != name.uid or claim["metadata"].get("deletionTimestamp"):
        return Ignore("the claim goes, and its PV with it") if volume is not None else Abandon(name)
    if claim["spec"].get("volumeName"):
        return _plan_bound(claim, volume, identity)
    if volume is not None:
        return Ignore(f"PV {volume_id(name.uid)} is there, and kube-controller-manager binds it")
    if provisioner_of(claim) != identity.provisioner:
        return Ignore("another provisioner's, or not yet asked for")
    class_name = claim["spec"].get("storageClassName") or ""
    if storage_class is None:
        return Ignore(f"StorageClass {class_name} is not there")
    if storage_class["provisioner"] != identity.provisioner:
        return Ignore(f"StorageClass {class_name} is {storage_class['provisioner']}'s")
    waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    if waits and not notes_of(claim).get(SELECTED_NODE):
        return Ignore("waits for its first consumer")
    if kind := foreign_source(claim):
        return LeaveToPopulator(kind)
    return Provision(read_claim(claim, storage_class))


def _plan_bound(claim: Json, volume: Json | None, identity: Identity) -> ClaimStep:
    if volume is None or not is_ours(volume, identity):
        return Ignore("bound to a PV that is not ours")
    if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
        return Ignore("not bound yet")
    status = claim.get("status") or {}
    if status.get("phase") != "Bound":
        return Ignore("not bound yet")
    wanted = requested_bytes(claim)
    held = quantity.parse(str((status.get("capacity") or {}).get("storage", "0")))
    if wanted <= held:
        return Ignore("bound, and as large as asked for")
    return Grow(our_volume(volume, identity), name_of(claim), wanted)


def plan_volume(volume: Json, claim: Json | None, identity: Identity) -> VolumeStep:
    """The step for one PV.

    Args:
        volume: the PV.
        claim: the one that its claimRef names, if that is there.
        identity: who this provisioner is.

    Raises:
        Permanent: VolumeMismatch: annotation and IQN do not name the same volume of ours.
    """
    if not is_ours(volume, identity):
        return Ignore("another provisioner's or release's")
    meta, spec = volume["metadata"], volume["spec"]
    policy, finalizers = spec["persistentVolumeReclaimPolicy"], tuple(meta.get("finalizers") or ())
    leaving, kept = bool(meta.get("deletionTimestamp")), FINALIZER in finalizers
    version = meta["resourceVersion"]
    if policy != "Delete":
        if kept:
            rest = tuple(item for item in finalizers if item != FINALIZER)
            return SetFinalizers(meta["name"], rest, version, f"its reclaim policy is {policy}")
        if leaving:
            return Ignore(f"being deleted with reclaim policy {policy}: its LUN stays")
    elif leaving and not kept:
        return Ignore("being deleted, and its LUN is gone")
    elif is_released(volume):
        if _is_its_claim(volume, claim):
            return Ignore("released, and bound again: kube-controller-manager is about to say so")
        return Delete(our_volume(volume, identity))
    elif not kept:
        return SetFinalizers(meta["name"], (*finalizers, FINALIZER), version, "its reclaim policy is Delete")
    return _plan_access(volume, claim, identity)


def is_released(volume: Json) -> bool:
    """Its claim is gone; or it never had one any more, and somebody deletes it."""
    phase = (volume.get("status") or {}).get("phase")
    if phase == "Released":
        return True
    return (
        phase == "Available"
        and not (volume["spec"].get("claimRef") or {}).get("uid")
        and bool(volume["metadata"].get("deletionTimestamp"))
    )


def _is_its_claim(volume: Json, claim: Json | None) -> bool:
    """Whether the claim exists, is the very one that the PV names, and stays."""
    if claim is None or claim["metadata"].get("deletionTimestamp"):
        return False
    return bool(claim["metadata"]["uid"] == (volume["spec"].get("claimRef") or {}).get("uid"))


def _plan_access(volume: Json, claim: Json | None, identity: Identity) -> VolumeStep:
    ours = our_volume(volume, identity)
    if claim is None or not _is_its_claim(volume, claim):
        return Ignore("no claim")
    if (volume.get("status") or {}).get("phase") != "Bound":
        return Ignore("not bound yet")
    wanted, held = chap_generation(claim), notes_of(volume).get(GENERATION, "")
    return Secure(
        ours,
        name_of(claim),
        generation=wanted,
        rotate=ours.secret is not None and wanted != held,
        wait_for_sessions=wanted.partition("/")[0] == held.partition("/")[0],
    )
