"""Which PV each claim of some manifests would be bound to by the cluster's controller. Pure.

A copy of a cluster's objects says so itself (spec.volumeName, spec.claimRef). Manifests that were never applied
don't: they are bound as https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding describes.
"""

from __future__ import annotations

from collections.abc import Mapping

from lundock_common import quantity
from vm_disks.objects import Document, listed, mappings, part

ClaimKey = tuple[str, str]
"""Namespace and name."""


def bind(claims: Mapping[ClaimKey, Document], volumes: Mapping[str, Document]) -> dict[ClaimKey, Document]:
    """Claims as they are once bound; those that no PV fits stay as they are."""
    bound: dict[ClaimKey, Document] = {}
    taken = {name for name in (_volume_name(claim) for claim in claims.values()) if name}
    for key, claim in claims.items():
        phase = part(claim, "status").get("phase")
        if phase is not None:  # a cluster's own word
            bound[key] = claim
            continue
        name = _volume_name(claim) or _reserved(key, volumes) or _best(claim, volumes, taken)
        if name in volumes:
            taken.add(name)
            bound[key] = {
                **claim,
                "spec": {**part(claim, "spec"), "volumeName": name},
                "status": {"phase": "Bound"},
            }
        else:
            bound[key] = claim
    return bound


def _volume_name(claim: Document) -> str:
    return str(part(claim, "spec").get("volumeName") or "")


def _reserved(key: ClaimKey, volumes: Mapping[str, Document]) -> str:
    return next((name for name, volume in volumes.items() if _claim_ref(volume) == key), "")


def _claim_ref(volume: Document) -> ClaimKey | None:
    ref = part(volume, "spec", "claimRef")
    return (str(ref.get("namespace")), str(ref.get("name"))) if ref else None


def _best(claim: Document, volumes: Mapping[str, Document], taken: set[str]) -> str:
    """The smallest that fits; of equals, the first by name."""
    fitting = [
        (_size(volume), name)
        for name, volume in volumes.items()
        if name not in taken and _claim_ref(volume) is None and _fits(part(claim, "spec"), volume)
    ]
    return min(fitting)[1] if fitting else ""


def _fits(wanted: Document, volume: Document) -> bool:
    spec, labels, selector = part(volume, "spec"), part(volume, "metadata", "labels"), part(wanted, "selector")
    return (
        (wanted.get("storageClassName") or "") == (spec.get("storageClassName") or "")
        and all(mode in listed(spec, "accessModes") for mode in listed(wanted, "accessModes"))
        and (wanted.get("volumeMode") or "Filesystem") == (spec.get("volumeMode") or "Filesystem")
        and all(labels.get(key) == value for key, value in part(selector, "matchLabels").items())
        and all(_matches(labels, expression) for expression in mappings(selector, "matchExpressions"))
        and _size(volume) >= _bytes(part(wanted, "resources", "requests"))
    )


def _matches(labels: Document, expression: Document) -> bool:
    key, values = str(expression.get("key")), listed(expression, "values")
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _size(volume: Document) -> int:
    return _bytes(part(volume, "spec", "capacity"))


def _bytes(sizes: Document) -> int:
    try:
        return quantity.parse(str(sizes.get("storage", "0")))
    except ValueError:
        return 0
