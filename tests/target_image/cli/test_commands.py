"""`lundock-target` as people use it, on a real agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from target_image.cli.main import main
from tests.capabilities import need
from tests.target_image import initiator
from tests.target_image.agent import AgentProcess
from tests.waiting import eventually

pytestmark = pytest.mark.integration
PASSWORD = "a-long-password"


def run(agent: AgentProcess, line: str, **more: object) -> Result:
    return CliRunner().invoke(main, ["--url", agent.url, *line.split()], **more)  # type: ignore[arg-type]


def done(agent: AgentProcess, line: str, **more: object) -> str:
    result = run(agent, line, **more)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_disk_from_its_making_to_its_end(agent: AgentProcess) -> None:
    need("qemu-iscsi")
    assert done(agent, "volumes list") == "none\n"
    assert "16 MiB" in done(agent, "volumes create disk --size 16Mi")
    assert "16 MiB" in done(agent, "volumes create disk --size 16Mi")
    assert "32 MiB" in done(agent, "volumes grow disk --size 32Mi")
    made = "exports create disk --volume disk --chap-user disk --chap-password-file -"
    assert "iqn.2026-11.io.lundock:disk" in done(agent, made, input=f"{PASSWORD}\n")
    with initiator.Session(agent.login("disk", "disk", PASSWORD, initiator="iqn.2026-11.test:me")):
        assert "iqn.2026-11.test:me" in done(agent, "sessions list")
        refused = run(agent, "exports delete disk")
        assert (refused.exit_code, "in-use" in refused.output) == (1, True)
        [session] = json.loads(done(agent, "sessions list -o json"))
        done(agent, f"sessions end disk {session['session']}")
        done(agent, "exports delete disk --force")
    assert "copy" in done(agent, "volumes create copy --size 1Mi --from disk")
    eventually(lambda: "ready" in done(agent, "volumes get copy"), "the copy is ready")
    assert "trashed" in done(agent, "volumes trash copy")
    assert "trashed" not in done(agent, "volumes restore copy")
    done(agent, "volumes delete disk copy")
    assert done(agent, "volumes list") == "none\n"


@pytest.mark.parametrize("what", ["volumes list", "volumes get disk", "exports list", "exports get disk"])
def test_every_form_says_the_same(agent: AgentProcess, what: str) -> None:
    done(agent, "volumes create disk --size 16Mi")
    done(agent, "exports create disk --volume disk --read-only")
    as_json = json.loads(done(agent, f"{what} -o json"))
    assert as_json == yaml.safe_load(done(agent, f"{what} -o yaml"))
    assert [row["id"] for row in (as_json if what.endswith("list") else [as_json])] == ["disk"]
    head, row = done(agent, what).splitlines()
    assert head.startswith("ID ")
    assert row.startswith("disk ")


def test_images(agent: AgentProcess) -> None:
    digest = f"sha256:{'0' * 64}"
    refused = run(agent, f"images add mine --image-url http://10.0.0.1/a.img --digest {digest}")
    assert (refused.exit_code, "--image-hosts" in refused.output) == (1, True)
    assert "alpine" in done(agent, "images list")
    done(agent, "images delete mine")


def test_status(agent: AgentProcess) -> None:
    told = done(agent, "status")
    assert "tgt" in told
    assert "overcommit ratio" in told
    assert yaml.safe_load(done(agent, "status -o yaml"))["capabilities"]["engine"] == "tgt"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("volumes get nothing", "there is no volume nothing"),
        ("volumes create disk --size huge", "is no size"),
        ("volumes create disk --size 1Mi --image a --from b", "not both"),
        ("exports create disk --volume disk --chap-user disk", "go together"),
        ("exports create disk --volume UPPER", "luns.0.volume"),
        ("exports create disk --volume nothing", "make it first"),
    ],
)
def test_mistakes_are_told_in_a_sentence(agent: AgentProcess, line: str, told: str) -> None:
    result = run(agent, line)
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_password_is_not_repeated(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame")
    line = f"exports create disk --volume disk --chap-user disk --chap-password-file {tmp_path}/password"
    result = run(agent, line)
    assert result.exit_code == 2
    assert "chap.password" in result.output
    assert "sesame" not in result.output


def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--url", "http://127.0.0.1:1", "volumes", "list"])
    assert result.exit_code == 1
    assert "no connection" in result.output
