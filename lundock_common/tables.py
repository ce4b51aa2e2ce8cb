"""What commands print of a list: a table as kubectl prints it, or JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Form = Literal["table", "wide", "json", "yaml"]
FORMS = ("table", "wide", "json", "yaml")

GAP = 3
"""Spaces between two columns."""

UNBOUNDED = 10_000
"""Columns of a terminal that is none: a pipe gets each row on one line, so that grep finds whole ids."""


def cell(value: object) -> str:
    """A value as it stands in a table: yes or no, `-` for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


def render(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table without lines: upper-case headers, columns three spaces apart, no spaces at the end of a line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=bool(columns))
    for name in columns or range(max(map(len, rows), default=0)):
        table.add_column(str(name).upper(), overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False, color_system=None)
    with console.capture() as printed:
        console.print(table)
    return "\n".join(line.rstrip() for line in printed.get().splitlines())


def serialize(content: object, form: Form) -> str:
    """Plain data as JSON or YAML."""
    if form == "json":
        return json.dumps(content, indent=2)
    import yaml

    return yaml.safe_dump(content, sort_keys=False).rstrip("\n")


def render_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], form: Form) -> str:
    """Rows as a table of these columns, or all that is in them as JSON or YAML."""
    if form in ("json", "yaml"):
        return serialize([dict(row) for row in rows], form)
    return render(columns, [[row.get(column) for column in columns] for row in rows])
