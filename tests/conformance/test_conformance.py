"""tgt, as Lundock configures it, against libiscsi's conformance tests, run suite by suite."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from target_image.api.client import TargetClient
from tests.capabilities import need
from tests.conformance.suites import Outcome, expectations, run, suites, verdict
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import agent, client, export_spec, shared_agent, volume_spec  # noqa: F401 - fixtures
from tests.waiting import eventually


@pytest.mark.integration
def test_tgt(agent: AgentProcess, client: TargetClient) -> None:  # noqa: F811
    need("iscsi-test-cu")
    client.ensure_volume("conformance", volume_spec(64))
    client.ensure_export("conformance", export_spec("conformance"))
    outcomes = [run(suite, agent.login("conformance").url(1)) for suite in suites()]
    assert sum(outcome.tests for outcome in outcomes) > 200
    assert verdict("tgt", outcomes) == []


def test_ours_is_no_longer_than_stock_tgt() -> None:
    assert expectations("tgt").keys() <= expectations("stock").keys()


@pytest.mark.slow
@pytest.mark.integration
def test_stock_tgt(tmp_path: Path) -> None:
    """tgtd with its own defaults, set up by its own tool; only thin provisioning is on, as in ours."""
    need("tgtd", "tgtadm", "iscsi-test-cu")
    disk, port = tmp_path / "disk", free_ports()
    with disk.open("wb") as file:
        file.truncate(64 * 2**20)
    iqn = "iqn.2026-11.test:stock"
    environment = {"TGT_IPC_SOCKET": str(tmp_path / "socket"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    argv = ["tgtd", "--foreground", "--iscsi", f"portal=127.0.0.1:{port}"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL) as tgtd:
        try:
            eventually(lambda: _tgtadm(environment, "--mode sys --op show").returncode == 0, "tgtd answers")
            for line in (
                f"--mode target --op new --tid 1 -T {iqn}",
                f"--mode logicalunit --op new --tid 1 --lun 1 -b {disk}",
                "--mode logicalunit --op update --tid 1 --lun 1 --params thin_provisioning=1",
                "--mode target --op bind --tid 1 -I ALL",
            ):
                assert _tgtadm(environment, line).returncode == 0
            outcomes = [run(suite, f"iscsi://127.0.0.1:{port}/{iqn}/1") for suite in suites()]
        finally:
            tgtd.kill()
    assert verdict("stock", outcomes) == []


def _tgtadm(environment: dict[str, str], line: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["tgtadm", "--lld", "iscsi", *line.split()]
    return subprocess.run(argv, env=environment, capture_output=True, timeout=30, check=False)


def test_both_a_new_failure_and_a_failure_that_went_away_are_told() -> None:
    expected = [
        Outcome(name.partition(".")[0], 1, frozenset({name.partition(".")[2]}), "") for name in expectations("tgt")
    ]
    assert verdict("tgt", expected) == []
    [new] = verdict("tgt", [*expected, Outcome("Read10", 1, frozenset({"Simple"}), "what it said")])
    assert "Read10.Simple fails" in new
    assert "what it said" in new
    assert len(verdict("tgt", [])) == len(expected)
