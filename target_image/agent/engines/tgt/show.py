"""What tgtd shows of itself, as values. Pure: text in, values out.

`show target` without a tid prints everything (usr/target.c, tgt_target_show_all); sizes are rounded there,
so they are not read. `show conn` prints one target's connections (usr/iscsi/target.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ShownLun:
    path: str
    read_only: bool
    online: bool
    serial: str
    thin: bool


@dataclass(frozen=True)
class ShownConnection:
    session: int
    connection: int
    initiator: str
    address: str


@dataclass(frozen=True)
class ShownTarget:
    tid: int
    iqn: str
    luns: dict[int, ShownLun] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    """Incoming names as they are, outgoing ones with ` (outgoing)`, as tgtd prints them."""
    acls: frozenset[str] = frozenset()
    connections: tuple[ShownConnection, ...] = ()


_TARGET = re.compile(r"^Target (\d+): (.+)$", re.MULTILINE)
_CONNECTION = re.compile(
    r"Connection: (?P<connection>\d+)\s+Initiator: (?P<initiator>\S+)[^\n]*\s+IP Address: (?P<address>\S+)"
)
_NEXUS = re.compile(
    r"Initiator: (?P<initiator>\S+)[^\n]*\s+Connection: (?P<connection>\d+)\s+IP Address: (?P<address>\S+)"
)
"""The same three facts in another order (usr/iscsi/session.c)."""


def targets(text: str) -> list[ShownTarget]:
    """Every target of `show target` without a tid."""
    starts = list(_TARGET.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return [_target(int(start[1]), start[2], text[start.end() : end]) for start, end in zip(starts, ends, strict=False)]


def connections(text: str) -> tuple[ShownConnection, ...]:
    """The connections of `show conn` of one target."""
    return tuple(_connections(text, r"^Session: (\d+)$", _CONNECTION))


def portals(text: str) -> set[str]:
    """host:port of each portal of `show portal`."""
    return {line.removeprefix("Portal: ").rpartition(",")[0] for line in text.splitlines() if line.strip()}


def session_bytes(text: str) -> dict[int, tuple[int, int]]:
    """Bytes read and written by LUN, summed over the live sessions, of `stat target`."""
    totals: dict[int, tuple[int, int]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 11 and fields[1].isdigit():
            lun, read, written = int(fields[1]), int(fields[5]), int(fields[9])
            before = totals.get(lun, (0, 0))
            totals[lun] = (before[0] + read, before[1] + written)
    return totals


def _target(tid: int, iqn: str, text: str) -> ShownTarget:
    sections = _sections(text)
    luns = {}
    for number, *lines in _blocks(sections.get("LUN information", []), "LUN: "):
        values = {name: value for name, _, value in (line.strip().partition(": ") for line in lines)}
        if values.get("Type") != "controller":
            luns[int(number)] = ShownLun(
                path=values["Backing store path"],
                read_only=values["Readonly"] == "Yes",
                online=values["Online"] == "Yes",
                serial=values["SCSI SN"],
                thin=values["Thin-provisioning"] == "Yes",
            )
    return ShownTarget(
        tid=tid,
        iqn=iqn,
        luns=luns,
        accounts=frozenset(line.strip() for line in sections.get("Account information", [])),
        acls=frozenset(line.strip() for line in sections.get("ACL information", [])),
        connections=tuple(
            _connections("\n".join(sections.get("I_T nexus information", [])), r"^\s*I_T nexus: (\d+)$", _NEXUS)
        ),
    )


def _sections(text: str) -> dict[str, list[str]]:
    """Lines by the heading above them: headings are indented by four spaces, their lines by more."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and line.endswith(":"):
            lines = sections.setdefault(line.strip().rstrip(":"), [])
        elif line.strip():
            lines.append(line)
    return sections


def _blocks(lines: list[str], start: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in lines:
        if line.strip().startswith(start):
            if block:
                yield block
            block = [line.strip().removeprefix(start)]
        elif block:
            block.append(line)
    if block:
        yield block


def _connections(text: str, session: str, connection: re.Pattern[str]) -> Iterator[ShownConnection]:
    parts = re.split(session, text, flags=re.MULTILINE)
    for number, body in zip(parts[1::2], parts[2::2], strict=True):
        for found in connection.finditer(body):
            yield ShownConnection(int(number), int(found["connection"]), found["initiator"], found["address"])
