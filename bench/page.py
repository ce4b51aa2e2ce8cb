"""Writes docs/benchmarks.md from the JSON of the benchmarks: their tables, and a plot of each one's ratios.

    python -m bench.page

What was read from a profile, or was tried and did not help, is in docs/benchmarks/<name>.md, written by hand: it is put
below the table.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib as mpl

from bench.report import COLUMNS, RESULTS, Report, Row, cells, load

mpl.use("svg")
from matplotlib import pyplot as plt

PAGE = RESULTS.parent / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `bench/all`, from runs on the machine that each section names. These machines are shared and noisy: hold
ratios of one run against each other, not seconds of different runs. A ratio is the median of ratios taken pair by pair
in each round; its lowest and highest stand in parentheses, and `n` is how many samples a row has. A missed goal stays,
with the reason that was found.

`bench/all` runs each at its full length (hours on two cores), `bench/all --quick` with fewer repetitions (about forty
minutes), `bench/all start scale` just these. The command in each section is the one that its figures come from: where
it names fewer rounds than the default that `python -m bench.<name> --help` shows, they are of a short run.
"""


def section(report: Report) -> str:
    """One benchmark as Markdown: GitHub shows its tables, which rich does not write."""
    versions = "; ".join(f"{name}: {version}" for name, version in report.versions.items())
    others = f"load average before it {report.load:.1f}"
    if report.niceness:
        others += f", run at nice {report.niceness}"
    about = [report.machine, versions, report.measured_at, others]
    lines = [
        f"## {report.name}",
        "",
        report.method,
        "",
        ". ".join(part for part in about if part) + f". `{report.command}`",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
        *("| " + " | ".join(cells(row)) + " |" for row in report.rows),
        "",
    ]
    if plot(report):
        lines += [f"![Ratios of {report.name}](benchmarks/{report.name}.svg)", ""]
    remarks = RESULTS / f"{report.name}.md"
    if remarks.exists():
        lines += [remarks.read_text(encoding="utf-8").strip(), ""]
    return "\n".join(lines)


def plot(report: Report) -> bool:
    """Draw the ratios as bars, with their spread.

    Returns:
        Whether there was anything to draw.
    """
    rows = [row for row in report.rows if row.ratios]
    if not rows:
        return False
    labels = [f"{row.what}\nagainst {row.versus}" for row in rows]
    medians = [statistics.median(row.ratios) for row in rows]
    spread = [
        [median - min(row.ratios) for median, row in zip(medians, rows, strict=True)],
        [max(row.ratios) - median for median, row in zip(medians, rows, strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1), layout="constrained")
    axes.barh(labels, medians, xerr=spread, color=[_colour(row) for row in rows], height=0.6)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times (logarithmic; bars are medians, lines the lowest and highest round)")
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    # Without a date, and with fixed ids, an unchanged result gives an unchanged file.
    with mpl.rc_context({"svg.hashsalt": report.name}):
        figure.savefig(RESULTS / f"{report.name}.svg", metadata={"Date": None})
    plt.close(figure)
    return True


def _colour(row: Row) -> str:
    return {None: "tab:gray", True: "tab:green", False: "tab:orange"}[row.met]


def write(results: Path = RESULTS, page: Path = PAGE) -> None:
    reports = [load(path) for path in sorted(results.glob("*.json"))]
    page.write_text("\n".join([HEAD, *map(section, reports)]), encoding="utf-8")


if __name__ == "__main__":
    write()
