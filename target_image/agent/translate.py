"""Requests become the ledger's rows, and rows become answers: the one place that knows all three shapes. Pure.

Each field is named, so that a field that one of the three shapes gains breaks nothing; it goes further once it is
named here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from target_image.agent import engines
from target_image.agent.errors import Invalid
from target_image.agent.state import rows
from target_image.agent.stores import Space
from target_image.api import fields, requests, responses
from target_image.api.problems import Code

_TRASHED = responses.Condition(
    code=Code.TRASHED, detail="in the trash: restore it (DELETE …/trash), or delete it for good"
)


def owner_to_row(owner: requests.Owner | None) -> rows.Owner | None:
    if owner is None:
        return None
    return rows.Owner(
        cluster=owner.cluster,
        release=owner.release,
        namespace=owner.namespace,
        claim=owner.claim,
        claim_uid=owner.claim_uid,
    )


def source_to_row(source: requests.Source) -> rows.Source:
    match source:
        case requests.ImageSource():
            return rows.ImageSource(image=source.image)
        case requests.VolumeSource():
            return rows.VolumeSource(volume=source.volume, allow_in_use=source.allow_in_use)
    return rows.EmptySource()


def luns_to_rows(luns: Sequence[requests.Lun]) -> tuple[rows.Lun, ...]:
    """By number."""
    return tuple(rows.Lun(lun.lun, lun.volume, lun.read_only) for lun in sorted(luns, key=lambda lun: lun.lun))


def access_to_row(access: requests.Access) -> rows.Access:
    """Canonical: sorted, and a network of one address as the address, since tgt never matches /32 and /128.

    Raises:
        Invalid: a network cannot be read.
    """
    networks = [network(text) for text in access.networks]
    texts = {str(each.network_address) if each.num_addresses == 1 else str(each) for each in networks}
    return rows.Access(initiators=tuple(sorted(set(access.initiators))), networks=tuple(sorted(texts)))


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network of an access list.

    Raises:
        Invalid: it cannot be read, or is everyone.
    """
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is no address or network without host bits: {error}") from error
    if found.prefixlen == 0:
        raise Invalid(f"{text!r} is everyone: leave networks empty instead")
    return found


def chap_to_row(chap: requests.Chap | None) -> rows.Credentials | None:
    if chap is None:
        return None
    return rows.Credentials(
        username=chap.username,
        password=chap.password.get_secret_value(),
        mutual_username=chap.mutual_username,
        mutual_password=None if chap.mutual_password is None else chap.mutual_password.get_secret_value(),
    )


def image_spec_to_row(spec: requests.ImageSpec) -> rows.ImageSpec:
    return rows.ImageSpec(urls=tuple(spec.urls), digest=spec.digest, format=spec.format.value, licence=spec.licence)


def volume_to_response(
    record: rows.VolumeRecord, *, allocated_bytes: int, exports: Sequence[str], bytes_done: int, bytes_total: int
) -> responses.Volume:
    """A volume. `bytes_done` and `bytes_total` are how far its filling is."""
    condition = condition_to_response(record.condition)
    return responses.Volume(
        id=record.id,
        size_bytes=record.size_bytes,
        allocated_bytes=allocated_bytes,
        source=_source_to_response(record.source),
        owner=_owner_to_response(record.owner),
        thin=record.thin,
        phase=fields.Phase.WORKING if record.state == "making" else fields.Phase(record.state),
        condition=condition or (None if record.trashed_at is None else _TRASHED),
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        stand_in=record.stand_in,
        exports=list(exports),
        created_at=record.created_at,
        trashed_at=record.trashed_at,
    )


def export_to_response(
    record: rows.ExportRecord,
    *,
    portals: Sequence[str],
    phase: fields.Phase,
    condition: rows.Condition | None,
    sessions: int,
) -> responses.Export:
    """An export, without its passwords. `sessions` is how many live."""
    return responses.Export(
        id=record.id,
        iqn=record.iqn,
        luns=[responses.Lun(lun=lun.lun, volume=lun.volume, read_only=lun.read_only) for lun in record.luns],
        access=responses.Access(initiators=list(record.access.initiators), networks=list(record.access.networks)),
        chap=_chap_to_response(record.chap),
        owner=_owner_to_response(record.owner),
        shard=record.shard,
        portals=list(portals),
        phase=phase,
        condition=condition_to_response(condition),
        sessions=sessions,
    )


def image_spec_to_response(spec: rows.ImageSpec | None) -> responses.ImageSpec | None:
    if spec is None:
        return None
    return responses.ImageSpec(urls=list(spec.urls), digest=spec.digest, format=spec.format, licence=spec.licence)


def image_to_response(
    name: str,
    spec: rows.ImageSpec | None,
    *,
    phase: fields.Phase,
    condition: rows.Condition | None = None,
    bytes_done: int = 0,
    bytes_total: int = 0,
    virtual_size_bytes: int = 0,
    stand_in: bool,
) -> responses.Image:
    """An image. `bytes_done` and `bytes_total` are how far its making is, and the size is of one that is ready."""
    return responses.Image(
        name=name,
        spec=image_spec_to_response(spec),
        phase=phase,
        condition=condition_to_response(condition),
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        virtual_size_bytes=virtual_size_bytes,
        stand_in=stand_in,
    )


def capabilities_to_response(
    engine: engines.Engine, *, version: str, clone: str, shards: int
) -> responses.Capabilities:
    """What the target can do: `clone` is the store's way to copy, and `version` the agent's own."""
    can = engine.capabilities
    return responses.Capabilities(
        version=version,
        engine=engine.name,
        grow=can.grow,
        mutual_chap=can.mutual_chap,
        access_by_initiator=can.access_by_initiator,
        access_by_network=can.access_by_network,
        access_by_both=can.access_by_both,
        clone=clone,
        unmap=can.unmap,
        shards=shards,
    )


def capacity_to_response(
    space: Space, *, promised_bytes: int, available_bytes: int, ratio: float
) -> responses.Capacity:
    """The space of the target: the store's, what is promised of it, and what may still be promised."""
    return responses.Capacity(
        total_bytes=space.total_bytes,
        free_bytes=space.free_bytes,
        promised_bytes=promised_bytes,
        available_bytes=available_bytes,
        overcommit_ratio=ratio,
    )


def session_to_response(export_id: str, live: engines.LiveSession) -> responses.Session:
    """A live session of an export."""
    return responses.Session(
        export=export_id,
        iqn=live.iqn,
        session=live.session,
        initiator=live.initiator,
        addresses=list(live.addresses),
    )


def condition_to_response(condition: rows.Condition | None) -> responses.Condition | None:
    return None if condition is None else responses.Condition(code=condition.code, detail=condition.detail)


def _source_to_response(source: rows.Source) -> responses.Source:
    match source:
        case rows.ImageSource():
            return responses.ImageSource(image=source.image)
        case rows.VolumeSource():
            return responses.VolumeSource(volume=source.volume, allow_in_use=source.allow_in_use)
    return responses.EmptySource()


def _owner_to_response(owner: rows.Owner | None) -> responses.Owner | None:
    if owner is None:
        return None
    return responses.Owner(
        cluster=owner.cluster,
        release=owner.release,
        namespace=owner.namespace,
        claim=owner.claim,
        claim_uid=owner.claim_uid,
    )


def _chap_to_response(chap: rows.Credentials | None) -> responses.ChapState | None:
    return None if chap is None else responses.ChapState(username=chap.username, mutual_username=chap.mutual_username)
