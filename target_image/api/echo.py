"""Requests that repeat what an answer said: an answer is read tolerantly, so what goes back is checked.

Each field is named: what an answer has and a request does not is left out. Every function raises ValueError where a
field holds what this version cannot ask for: the agent is newer.
"""

from __future__ import annotations

from target_image.api import requests, responses


def owner(answered: responses.Owner | None) -> requests.Owner | None:
    if answered is None:
        return None
    return requests.Owner(
        cluster=answered.cluster,
        release=answered.release,
        namespace=answered.namespace,
        claim=answered.claim,
        claim_uid=answered.claim_uid,
    )


def source(answered: responses.Source) -> requests.Source:
    """The source as it is asked for.

    Raises:
        ValueError: it is of a kind that this version does not know.
    """
    match answered:
        case responses.EmptySource():
            return requests.EmptySource()
        case responses.ImageSource():
            return requests.ImageSource(image=answered.image)
        case responses.VolumeSource():
            return requests.VolumeSource(volume=answered.volume, allow_in_use=answered.allow_in_use)
    raise ValueError(f"the volume has a source of the kind {answered.type!r}, which this version does not know")


def volume_spec(answered: responses.Volume, *, size_bytes: int) -> requests.VolumeSpec:
    """The volume in another size."""
    return requests.VolumeSpec(
        size_bytes=size_bytes, source=source(answered.source), owner=owner(answered.owner), thin=answered.thin
    )


def luns(answered: responses.Export) -> list[requests.Lun]:
    return [requests.Lun(lun=lun.lun, volume=lun.volume, read_only=lun.read_only) for lun in answered.luns]


def access(answered: responses.Export) -> requests.Access:
    return requests.Access(initiators=answered.access.initiators, networks=answered.access.networks)


def export_spec(answered: responses.Export, chap: requests.Chap | None) -> requests.ExportSpec:
    """The export with these credentials: an answer never holds a password."""
    return requests.ExportSpec(
        iqn=answered.iqn, luns=luns(answered), access=access(answered), chap=chap, owner=owner(answered.owner)
    )
