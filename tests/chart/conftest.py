"""Fixtures of the chart's tests."""

from __future__ import annotations

import os

import pytest

from tests.chart import helm as helm_module
from tests.chart.helm import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm without a cluster. Skipped where there is none yet: `python -m cluster up` builds it."""
    binary = helm_module.binary()
    if binary is None:
        reason = "no Helm: `python -m cluster up` builds one, or install it"
        if os.environ.get("LUNDOCK_REQUIRE_ALL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return Helm(binary)
