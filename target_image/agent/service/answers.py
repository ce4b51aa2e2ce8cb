"""From the ledger's rows, and from what is found now, to what the API answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from target_image.agent.engines import Credentials, LiveSession
from target_image.agent.state.rows import ExportRecord, VolumeRecord
from target_image.api import fields, requests, responses
from target_image.api.problems import Code

_TRASHED = responses.Condition(
    code=Code.TRASHED, detail="in the trash: restore it (DELETE …/trash), or delete it for good"
)


def volume(
    record: VolumeRecord, *, allocated_bytes: int, exports: Sequence[str], bytes_done: int, bytes_total: int
) -> responses.Volume:
    """A volume. `bytes_done` and `bytes_total` are how far its filling is."""
    return responses.Volume(
        id=record.id,
        size_bytes=record.size_bytes,
        allocated_bytes=allocated_bytes,
        source=_source(record.source),
        owner=_owner(record.owner),
        thin=record.thin,
        phase=fields.Phase.WORKING if record.state == "making" else fields.Phase(record.state),
        condition=record.condition or (None if record.trashed_at is None else _TRASHED),
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        stand_in=record.stand_in,
        exports=list(exports),
        created_at=record.created_at,
        trashed_at=record.trashed_at,
    )


def export(
    record: ExportRecord,
    *,
    portals: Sequence[str],
    phase: fields.Phase,
    condition: responses.Condition | None,
    sessions: int,
) -> responses.Export:
    """An export, without its passwords. `sessions` is how many live."""
    return responses.Export(
        id=record.id,
        iqn=record.iqn,
        luns=[responses.Lun(lun=lun.lun, volume=lun.volume, read_only=lun.read_only) for lun in record.luns],
        access=responses.Access(initiators=list(record.access.initiators), networks=list(record.access.networks)),
        chap=_chap(record.chap),
        owner=_owner(record.owner),
        shard=record.shard,
        portals=list(portals),
        phase=phase,
        condition=condition,
        sessions=sessions,
    )


def session(export_id: str, live: LiveSession) -> responses.Session:
    """A live session of an export."""
    return responses.Session(
        export=export_id,
        iqn=live.iqn,
        session=live.session,
        initiator=live.initiator,
        addresses=list(live.addresses),
    )


def _source(source: requests.Source) -> responses.Source:
    match source:
        case requests.ImageSource():
            return responses.ImageSource(image=source.image)
        case requests.VolumeSource():
            return responses.VolumeSource(volume=source.volume, allow_in_use=source.allow_in_use)
    return responses.EmptySource()


def _owner(owner: requests.Owner | None) -> responses.Owner | None:
    return None if owner is None else responses.Owner.model_validate(owner.model_dump())


def _chap(chap: Credentials | None) -> responses.ChapState | None:
    return None if chap is None else responses.ChapState(username=chap.username, mutual_username=chap.mutual_username)
