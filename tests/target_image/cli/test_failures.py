"""How `lundock-target` ends when it cannot do what it is asked for: a sentence, and the exit code of its kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from target_image.agent.errors import LedgerError
from target_image.agent.settings import Settings
from target_image.cli.main import main


def fail(*arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code, and what is said on stderr."""
    result = CliRunner().invoke(main, arguments, env=environment)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.exit_code, result.stderr


def test_what_was_expected_to_fail_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = fail("--url", "http://127.0.0.1:1", "volumes", "list")
    assert (code, said.startswith("error: GET http://127.0.0.1:1/v1/volumes: no connection")) == (1, True)
    nowhere = f"error: there is no ledger in {tmp_path}: give the agent's --data-dir\n"
    assert fail("backup", str(tmp_path / "backup"), "--data-dir", str(tmp_path)) == (1, nowhere)
    nothing = f"error: there is no backup in {tmp_path}: it has no ledger.sqlite\n"
    assert fail("restore", str(tmp_path), "--data-dir", str(tmp_path / "data")) == (1, nothing)

    def run(_: Settings) -> None:
        raise LedgerError("another agent holds it")

    monkeypatch.setattr("target_image.agent.lifecycle.run", run)
    assert fail("serve") == (1, "error: another agent holds it\n")


def test_settings_that_cannot_be_used_are_exit_code_2(tmp_path: Path) -> None:
    code, said = fail("serve", LUNDOCK_SHARDS="many")
    assert (code, said.startswith("error: --shards: ")) == (2, True)
    code, said = fail("backup", str(tmp_path / "backup"), LUNDOCK_SHARDS="many")
    assert (code, said.startswith("error: --shards: ")) == (2, True)
