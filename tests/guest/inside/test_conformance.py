"""LIO, as Lundock configures it, against libiscsi's conformance tests, run suite by suite."""

from __future__ import annotations

from tests.conformance.suites import run, suites, verdict
from tests.target_image.contract.conftest import Place


def test_lio(place: Place) -> None:
    target = place.target("conformance", place.lun("conformance", size_mib=64))
    place.engine.apply(target)
    outcomes = [run(suite, place.login(target).url(1)) for suite in suites()]
    assert sum(outcome.tests for outcome in outcomes) > 200
    assert verdict("lio", outcomes) == []
