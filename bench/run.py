"""Runs benchmarks by name, with the daemons and the image that they need, and writes the page.

    python -m bench.run [--quick] [NAME...]

--quick measures the same things with fewer repetitions.
"""

from __future__ import annotations

import subprocess
import sys

import click

from bench import page
from cluster.components import images
from cluster.components.build import build
from cluster.machine import daemons
from cluster.terminal import heading, say

FULL: dict[str, list[list[str]]] = {
    "resolve": [[]],
    "start": [[]],
    "clone": [[]],
    "scale": [[]],
    "datapath": [[]],
    "provision": [["--claims=200"], ["--claims=1000"]],
}
"""The arguments of each benchmark's runs; the short ones first."""

QUICK: dict[str, list[list[str]]] = {
    "resolve": [["--rounds=9"]],
    "start": [["--rounds=3"]],
    "clone": [["--rounds=3"]],
    "scale": [["--rounds=2"]],
    "datapath": [["--rounds=3"]],
    "provision": [["--claims=200", "--rounds=2"], ["--claims=1000", "--rounds=1"]],
}


def run(name: str, arguments: list[str]) -> bool:
    """One run of one benchmark, in a process of its own.

    Returns:
        Whether it went well.
    """
    heading("•", " ".join([name, *arguments]))
    return subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode == 0


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Fewer repetitions.")
@click.argument("names", nargs=-1, type=click.Choice(list(FULL)))
def main(quick: bool, names: tuple[str, ...]) -> None:
    runs = QUICK if quick else FULL
    daemons.start(daemons.DOCKER, say)
    failed = []
    try:
        images.build("lundock/target", say)
        build(say)
        for name in names or runs:
            failed += [" ".join([name, *arguments]) for arguments in runs[name] if not run(name, arguments)]
    finally:
        daemons.stop(say)
    page.write()
    for each in failed:
        say(f"failed: {each}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
