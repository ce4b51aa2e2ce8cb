"""Runs iscsi-test-cu suite by suite and compares what failed with what was expected to.

Each suite gets a process of its own: in one combined run the state that a test leaves makes later ones fail.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

SUITE_TIMEOUT_S = 120
EXPECTATIONS = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    suite: str
    tests: int
    failed: frozenset[str]
    """Names of tests, without the suite's."""
    output: str


def suites() -> list[str]:
    """The suites of the tool's largest family, ALL."""
    listed = subprocess.run(["iscsi-test-cu", "--list"], capture_output=True, text=True, timeout=20, check=True).stdout
    return re.findall(r"^ALL\.(\w+)$", listed, re.MULTILINE)


def run(suite: str, url: str) -> Outcome:
    """Run one suite, destructive tests included.

    Raises:
        RuntimeError: it did not come to its end.
    """
    argv = ["iscsi-test-cu", "--dataloss", "--normal", "--test", f"ALL.{suite}", url]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=SUITE_TIMEOUT_S, check=False)
    output = done.stdout + done.stderr
    # CUnit's summary: the columns are Total, Ran, Passed, Failed, Inactive.
    summary = re.search(r"^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", output, re.MULTILINE)
    failed = frozenset(re.findall(rf"^Suite {suite}, Test (\S+) had failures", output, re.MULTILINE))
    if summary is None or summary[1] != summary[2] or int(summary[4]) != len(failed):
        raise RuntimeError(f"suite {suite} did not come to its end (exit code {done.returncode}):\n{output[-2000:]}")
    return Outcome(suite, int(summary[2]), failed, output)


def expectations(engine: str, table: str = "expected_failures") -> dict[str, str]:
    """Suite.Test to the reason why it fails, from ENGINE.toml; the table `may_fail` is of those that fail by timing."""
    expected: dict[str, str] = tomllib.loads((EXPECTATIONS / f"{engine}.toml").read_text()).get(table, {})
    return expected


def verdict(engine: str, outcomes: list[Outcome]) -> list[str]:
    """What differs from the expectations, as sentences; empty is conformance as documented."""
    expected = expectations(engine)
    failed = {f"{outcome.suite}.{test}": outcome for outcome in outcomes for test in outcome.failed}
    unexpected = failed.keys() - expected.keys() - expectations(engine, "may_fail").keys()
    new = [f"{name} fails, and is not expected to:\n{failed[name].output}" for name in sorted(unexpected)]
    gone = [f"{name} no longer fails: take it out of {engine}.toml" for name in sorted(expected.keys() - failed.keys())]
    return new + gone
