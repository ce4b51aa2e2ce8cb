"""tgt, as Lundock configures it, against libiscsi's conformance tests, run suite by suite."""

from __future__ import annotations

import pytest

from target_image.client import TargetClient
from tests.capabilities import need
from tests.conformance.suites import Outcome, expectations, run, suites, verdict
from tests.target_image.agent import Agent
from tests.target_image.conftest import agent, client, export_spec, shared_agent, volume_spec  # noqa: F401 - fixtures


@pytest.mark.integration
def test_tgt(agent: Agent, client: TargetClient) -> None:  # noqa: F811
    need("iscsi-test-cu")
    client.ensure_volume("conformance", volume_spec(64))
    client.ensure_export("conformance", export_spec("conformance"))
    outcomes = [run(suite, agent.login("conformance").url(1)) for suite in suites()]
    assert sum(outcome.tests for outcome in outcomes) > 200
    assert verdict("tgt", outcomes) == []


def test_both_a_new_failure_and_a_failure_that_went_away_are_told() -> None:
    expected = [
        Outcome(name.partition(".")[0], 1, frozenset({name.partition(".")[2]}), "") for name in expectations("tgt")
    ]
    assert verdict("tgt", expected) == []
    [new] = verdict("tgt", [*expected, Outcome("Read10", 1, frozenset({"Simple"}), "what it said")])
    assert "Read10.Simple fails" in new
    assert "what it said" in new
    assert len(verdict("tgt", [])) == len(expected)
