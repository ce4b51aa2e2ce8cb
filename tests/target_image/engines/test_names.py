"""Every place that knows the engines by name knows all of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from target_image.agent.engines import ENGINES, EngineName
from target_image.agent.errors import SettingsError
from target_image.agent.settings import Settings
from tests.target_image.contract.conftest import ELSEWHERE, HERE

REPOSITORY = Path(__file__).parents[3]


def test_the_settings_accept_the_engines_that_can_be_made() -> None:
    assert get_args(EngineName) == tuple(ENGINES)
    with pytest.raises(SettingsError, match="--engine"):
        Settings.load(engine="none")


def test_the_contract_runs_over_every_engine() -> None:
    assert sorted([*HERE, *ELSEWHERE]) == sorted(ENGINES)
    assert [folder for folder in ELSEWHERE.values() if not (REPOSITORY / folder / "conftest.py").exists()] == []


def test_the_chart_offers_every_engine() -> None:
    schema = json.loads((REPOSITORY / "charts/lundock/values.schema.json").read_text(encoding="utf-8"))
    assert schema["properties"]["target"]["properties"]["engine"]["enum"] == list(ENGINES)


def test_engines_and_stores_do_not_know_each_other() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [independent] = [contract["modules"] for contract in contracts if contract["type"] == "independence"]
    assert {f"target_image.agent.engines.{name}" for name in ENGINES} <= set(independent)
