"""What the demo target says when it serves: the LUNs and the commands to use them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lundock_common.portal import Portal
from lundock_common.quantity import for_people
from target_image.agent.demo import usage


@dataclass(frozen=True)
class Row:
    """One LUN as it is told: `state` is `ready`, or why it is not."""

    lun: int
    name: str
    size_bytes: int
    state: str


def banner(portal: Portal, iqn: str, rows: Sequence[Row], username: str | None, warnings: Sequence[str]) -> str:
    """Several lines for a terminal."""
    boot_lun = next((row.lun for row in rows if row.lun > 1 and row.size_bytes), 1)
    lines = ["", f"Lundock serves {iqn}" + ("" if username is None else f" (CHAP user {username})")]
    # Not a table of lundock_common.tables: sizes are aligned to the right, and later banners keep the columns.
    for row in rows:
        shown_size = for_people(row.size_bytes) if row.size_bytes else "-"
        lines.append(f"  LUN {row.lun:<3} {row.name:<14} {shown_size:>10}  {row.state}")
    lines += [f"  WARNING: {warning}" for warning in warnings]
    lines += [
        "",
        "Use it from the host (with another published port than 3260, give PORTAL=host:port to the container):",
    ]
    lines += [f"  {command.line}" for command in usage.commands(portal, iqn, boot_lun, username)]
    return "\n".join([*lines, ""])
