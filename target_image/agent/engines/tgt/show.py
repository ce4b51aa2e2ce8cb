"""What tgtd shows of itself, as values. Pure: text in, values out.

`show target` without a tid prints everything (usr/target.c, tgt_target_show_all); sizes are rounded there,
so they are not read. `show conn` prints one target's connections (usr/iscsi/target.c).

An initiator chooses its name and alias, and tgtd prints the bytes that it sent, line breaks and all: whoever can
log in can write lines into both texts, but can take none away. So a connection counts by the lines that tgtd
prints before the name, and a target whose text is not in tgtd's own form is not clear: nothing is concluded from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

NAMELESS = "?"
"""Stands for a name that no proper initiator has (RFC 7143 section 4.2.7.1): with blanks or control characters."""


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
    initiator: str = NAMELESS
    address: str = ""


@dataclass(frozen=True)
class ShownTarget:
    tid: int
    iqn: str
    luns: dict[int, ShownLun] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    """Incoming names as they are, outgoing ones with ` (outgoing)`, as tgtd prints them."""
    acls: frozenset[str] = frozenset()
    busy: bool = False
    """Whether it may have sessions; `show conn` says which."""
    clear: bool = True
    """Whether the text is of the form that tgtd prints. If not, only `busy` means anything."""


_TARGET = re.compile(r"^Target ([0-9]+): (.+)$", re.MULTILINE)
_NEXUS = re.compile(r"^ {8}I_T nexus: [0-9]+$", re.MULTILINE)
_SESSION = re.compile(r"^Session: ([0-9]+)$", re.MULTILINE)
_CONNECTION = re.compile(r"^ {4}Connection: ([0-9]+)$", re.MULTILINE)
_PEER = re.compile(r"\n {8}Initiator: (?P<initiator>\S+)\n {8}IP Address: (?P<address>\S+)\n?")
_SECTIONS = (
    "System information",
    "I_T nexus information",
    "LUN information",
    "Account information",
    "ACL information",
)


def targets(text: str) -> dict[int, ShownTarget]:
    """Every target of `show target` without a tid, by tid."""
    shown: dict[int, ShownTarget] = {}
    starts = list(_TARGET.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    for start, end in zip(starts, ends, strict=False):  # without a target there is only the end
        target = _parse_target(int(start[1]), start[2], text[start.end() : end])
        before = shown.get(target.tid)
        if before is not None:  # only one of the two can be tgtd's
            target = replace(target, busy=target.busy or before.busy, clear=False)
        shown[target.tid] = target
    return shown


def connections(text: str) -> tuple[ShownConnection, ...]:
    """The connections of `show conn` of one target. Those of a nameless initiator are among them."""
    return tuple(
        _parse_connection(int(session), int(connection), body)
        for session, of_session in _split_at_headers(_SESSION, text)
        for connection, body in _split_at_headers(_CONNECTION, of_session)
    )


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


def sessions_of(text: str) -> set[int]:
    """The numbers of the live sessions, of `stat target`: no initiator's words are in it."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {int(row[2]) for row in rows if len(row) >= 11 and row[2].isdigit()}


def _parse_target(tid: int, iqn: str, text: str) -> ShownTarget:
    busy = _NEXUS.search(text) is not None
    sections = _split_sections(text)
    if tuple(name for name, _ in sections) != _SECTIONS:
        return ShownTarget(tid, iqn, busy=busy, clear=False)
    lines = dict(sections)
    try:
        luns = dict(_parse_luns(lines["LUN information"]))
    except (KeyError, ValueError):
        return ShownTarget(tid, iqn, busy=busy, clear=False)
    return ShownTarget(
        tid=tid,
        iqn=iqn,
        luns=luns,
        accounts=frozenset(line.strip() for line in lines["Account information"]),
        acls=frozenset(line.strip() for line in lines["ACL information"]),
        busy=busy,
    )


def _parse_luns(lines: list[str]) -> Iterator[tuple[int, ShownLun]]:
    """The disks; the controller, LUN 0, is left out.

    Raises:
        KeyError: a line that tgtd prints of each LUN is missing.
        ValueError: a LUN's number is none: the line is not tgtd's.
    """
    for number, *block in _split_blocks(lines, "LUN: "):
        values = {name: value for name, _, value in (line.strip().partition(": ") for line in block)}
        if values["Type"] != "controller":
            yield (
                int(number),
                ShownLun(
                    path=values["Backing store path"],
                    read_only=values["Readonly"] == "Yes",
                    online=values["Online"] == "Yes",
                    serial=values["SCSI SN"],
                    thin=values["Thin-provisioning"] == "Yes",
                ),
            )


def _split_sections(text: str) -> list[tuple[str, list[str]]]:
    """Headings with the lines below them: headings are indented by four spaces, their lines by more."""
    sections: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):  # not splitlines(): a name may hold what Python takes for a line's end
        if line.startswith("    ") and not line.startswith("     ") and line.endswith(":"):
            sections.append((line.strip().rstrip(":"), []))
        elif line.strip() and sections:
            sections[-1][1].append(line)
    return sections


def _split_blocks(lines: list[str], start: str) -> Iterator[list[str]]:
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


def _split_at_headers(header: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    """What each header names, and the text up to the next one."""
    parts = header.split(text)
    return zip(parts[1::2], parts[2::2], strict=True)


def _parse_connection(session: int, connection: int, body: str) -> ShownConnection:
    found = _PEER.fullmatch(body)
    if found is None or not found["initiator"].isprintable() or not _is_address(found["address"]):
        return ShownConnection(session, connection)
    return ShownConnection(session, connection, found["initiator"], found["address"])


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
