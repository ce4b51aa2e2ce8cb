"""What a benchmark says: rows of repeated measurements, as a table, as JSON and as a page with plots.

A row keeps every sample; median and spread are derived. A ratio is taken pair by pair, between samples of the
same round, because these machines are shared and their speed drifts between rounds.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lundock_common import tables

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
"""Where the JSON of each benchmark is kept, beside the page that shows it."""

COLUMNS = ("what", "median", "min", "max", "n", "ratio", "goal")
"""`n` is how many samples median, min and max are of."""


@dataclass
class Row:
    """One thing measured: `samples` in `unit`, and against what it is held."""

    what: str
    unit: str
    samples: list[float]
    versus: str = ""
    ratios: list[float] = field(default_factory=list)
    goal: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass
class Report:
    """One benchmark's result. `method` is one paragraph: what was run, against what, how often."""

    name: str
    method: str
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    """What repeats it, as typed in the checkout."""
    machine: str = ""
    load: float = -1
    """Load average of the minute before: what else was running."""
    niceness: int | None = None
    """Of the benchmark and what it starts itself (nice(1)): below 0 it goes before what else is running."""
    measured_at: str = ""

    def __post_init__(self) -> None:
        self.command = self.command or command()
        self.machine = self.machine or machine()
        self.load = os.getloadavg()[0] if self.load < 0 else self.load
        if self.niceness is None:
            self.niceness = os.getpriority(os.PRIO_PROCESS, 0)
        self.measured_at = self.measured_at or datetime.now(UTC).isoformat(timespec="seconds")

    def add(self, what: str, unit: str, samples: Sequence[float], *, goal: str = "", met: bool | None = None) -> Row:
        """Add a row of samples; the caller judges the goal, because only it knows which way is better."""
        row = Row(what, unit, list(samples), goal=goal, met=met)
        self.rows.append(row)
        return row

    def compare(
        self, what: str, unit: str, ours: Sequence[float], versus: str, theirs: Sequence[float], *, at_least: float = 0
    ) -> Row:
        """Add a row of rates with its ratios to a peer's, sample by sample of the same rounds."""
        row = Row(what, unit, list(ours), versus=versus)
        row.ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
        if at_least:
            row.goal = f"at least {at_least:g} times {versus}"
            row.met = bool(row.ratios) and statistics.median(row.ratios) >= at_least
        self.rows.append(row)
        return row

    def show(self) -> None:
        """Print the table."""
        print(f"{self.name}: {self.machine}\n{tables.render(COLUMNS, [cells(row) for row in self.rows])}")

    def write(self, directory: Path = RESULTS) -> Path:
        """Write the JSON, a row a line, and return its path."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        data = asdict(self)
        rows = ",\n".join(json.dumps(row) for row in data.pop("rows"))
        head = json.dumps(data, indent=1).removesuffix("\n}")
        path.write_text(f'{head},\n "rows": [\n{rows}\n]}}\n', encoding="utf-8")
        return path


def load(path: Path) -> Report:
    """Read a report back.

    Raises:
        KeyError: the file is not a report.
        ValueError: the file is not JSON.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in data.pop("rows")]
    return Report(**data, rows=rows)


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table and the page show it."""
    ratio = ""
    if row.ratios:
        low, high = min(row.ratios), max(row.ratios)
        ratio = f"{statistics.median(row.ratios):.2f}x {row.versus} ({low:.2f}-{high:.2f})"
    verdict = {None: "", True: " (met)", False: " (missed)"}[row.met]
    return (
        row.what,
        f"{number(row.median)} {row.unit}",
        number(min(row.samples)),
        number(max(row.samples)),
        str(len(row.samples)),
        ratio,
        f"{row.goal}{verdict}",
    )


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100 up."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def command() -> str:
    """The running benchmark and its arguments, as `python -m` takes them."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    return shlex.join(["python", "-m", main.name if main else Path(sys.argv[0]).stem, *sys.argv[1:]])


def machine() -> str:
    """Cores, memory and kernel: what a reader needs to judge absolute figures."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
    )


def version_of(*command: str) -> str:
    """The first line that a command prints of its version."""
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return ((output.stdout or output.stderr).strip().splitlines() or ["unknown"])[0]
