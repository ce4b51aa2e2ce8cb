"""What the landing page shows, from what the service tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lundock_common.portal import Portal
from target_image.agent.demo import usage
from target_image.api import fields, responses

MAX_EXPORTS = 100
"""More than this on one page helps nobody; the rest is counted."""

REFRESH_S = 2


@dataclass(frozen=True)
class LunRow:
    lun: int
    name: str
    size_bytes: int
    allocated_bytes: int
    state: str
    note: str
    blank: bool = False
    """Nothing was on it when it was made, so it is no good example of something to boot."""


@dataclass(frozen=True)
class ExportCard:
    iqn: str
    phase: str
    note: str
    username: str | None
    sessions: int
    luns: tuple[LunRow, ...]
    commands: tuple[usage.Command, ...]


@dataclass(frozen=True)
class ImageRow:
    name: str
    phase: str
    note: str
    bytes_done: int
    bytes_total: int
    size_bytes: int

    @property
    def percent(self) -> int:
        return min(100, 100 * self.bytes_done // self.bytes_total) if self.bytes_total else 0


@dataclass(frozen=True)
class Page:
    ready: bool
    version: str
    engine: str
    capacity: responses.Capacity
    exports: tuple[ExportCard, ...]
    more_exports: int
    images: tuple[ImageRow, ...]
    sessions: tuple[responses.Session, ...]
    refresh_s: int
    """Seconds until the page loads itself again; 0 when nothing is going on."""

    @property
    def used_percent(self) -> int:
        total = self.capacity.total_bytes
        return 100 * (total - self.capacity.free_bytes) // total if total else 0


def page(
    *,
    portal: Portal,
    ready: bool,
    capabilities: responses.Capabilities,
    capacity: responses.Capacity,
    exports: Sequence[responses.Export],
    volumes: Sequence[responses.Volume],
    images: Sequence[responses.Image],
    sessions: Sequence[responses.Session],
) -> Page:
    by_id = {volume.id: volume for volume in volumes}
    cards = tuple(_card(export, by_id, portal) for export in exports[:MAX_EXPORTS])
    phases = [volume.phase for volume in volumes] + [image.phase for image in images]
    return Page(
        ready=ready,
        version=capabilities.version,
        engine=capabilities.engine,
        capacity=capacity,
        exports=cards,
        more_exports=max(0, len(exports) - MAX_EXPORTS),
        images=tuple(_image(image) for image in images),
        sessions=tuple(sessions),
        refresh_s=0 if ready and fields.Phase.WORKING not in phases else REFRESH_S,
    )


def _card(export: responses.Export, volumes: dict[str, responses.Volume], portal: Portal) -> ExportCard:
    rows = tuple(_lun(lun, volumes.get(lun.volume)) for lun in export.luns)
    username = None if export.chap is None else export.chap.username
    return ExportCard(
        iqn=export.iqn,
        phase=export.phase.value,
        note="" if export.condition is None else export.condition.detail,
        username=username,
        sessions=export.sessions,
        luns=rows,
        commands=tuple(usage.commands(_shard_portal(portal, export.shard), export.iqn, _bootable(rows), username)),
    )


def _shard_portal(portal: Portal, shard: int) -> Portal:
    """Each shard listens on the port after the one before."""
    return Portal(portal.host, portal.port + shard)


def _bootable(rows: Sequence[LunRow]) -> int:
    """For the example: the first LUN that began with something on it."""
    return next((row.lun for row in rows if not row.blank), rows[0].lun)


def _lun(lun: responses.Lun, volume: responses.Volume | None) -> LunRow:
    if volume is None:
        return LunRow(lun.lun, lun.volume, 0, 0, "offline", "its volume is gone")
    notes = ["read-only"] if lun.read_only else []
    if volume.stand_in:
        notes.append("the demo disk, until the image can be fetched at a next start")
    if volume.condition is not None:
        notes.append(volume.condition.detail)
    return LunRow(
        lun=lun.lun,
        name=re.sub(r"^demo-[0-9a-f]{8}-", "", volume.id),
        size_bytes=volume.size_bytes,
        allocated_bytes=volume.allocated_bytes,
        state="stand-in" if volume.stand_in else volume.phase.value,
        note="; ".join(notes),
        blank=isinstance(volume.source, responses.EmptySource),
    )


def _image(image: responses.Image) -> ImageRow:
    note = "" if image.condition is None else image.condition.detail
    if image.stand_in:
        note = f"the demo disk stands in until the next start. {note}".strip()
    return ImageRow(image.name, image.phase.value, note, image.bytes_done, image.bytes_total, image.virtual_size_bytes)
