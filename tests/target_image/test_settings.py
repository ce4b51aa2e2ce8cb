"""The agent's settings: the options of `serve`, and the environment."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from lundock_common.quantity import GIB
from target_image.agent.settings import Settings
from target_image.cli.main import main


def test_every_setting_is_explained_and_an_option() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"LUNDOCK_{name.upper()}" in shown


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Settings] = []
    monkeypatch.setattr("target_image.agent.lifecycle.run", chosen.append)
    environment = {
        "LUNDOCK_SHARDS": "3",
        "LUNDOCK_ISCSI_ADDRESSES": "127.0.0.1 ::1",
        "LUNDOCK_RESERVE_BYTES": "1Gi",
        "LUNDOCK_PAGE": "false",
    }
    assert CliRunner().invoke(main, ["serve", "--api-port", "0"], env=environment).exit_code == 0
    [settings] = chosen
    assert (settings.shards, settings.iscsi_addresses) == (3, ("127.0.0.1", "::1"))
    assert (settings.reserve_bytes, settings.page, settings.api_port) == (GIB, False, 0)
