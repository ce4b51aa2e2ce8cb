"""What an operator sees of a running provisioner: its health, its log, and how it ends."""

from __future__ import annotations

import json

import pytest
import requests

from cluster.machine.ports import free_ports
from tests.provisioner.stage import Stage
from tests.waiting import eventually

pytestmark = pytest.mark.cluster


def status(port: int, path: str) -> int:
    """Of the page; 0 while nobody listens."""
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=2).status_code
    except requests.RequestException:
        return 0


def test_a_standby_is_ready_and_ends_as_cleanly_as_the_leader(own_stage: Stage) -> None:
    own_stage.up()
    port = free_ports()
    other = own_stage.provisioner("standby", http={"healthPort": port, "metricsPort": 0})
    other.start()
    try:
        eventually(lambda: status(port, "/readyz") == 200, "the standby to watch")
        assert (status(port, "/healthz"), status(port, "/metrics")) == (200, 404)
        assert other.stop() == 0, other.tail()
        assert "Traceback" not in other.tail()
    finally:
        other.end()
    assert own_stage.process.stop() == 0
    assert "Traceback" not in own_stage.process.tail()


def test_it_is_alive_and_not_ready_while_the_api_server_is_away(own_stage: Stage) -> None:
    away = own_stage.folder / "away.kubeconfig"
    text = own_stage.kubeconfig.read_text(encoding="utf-8")
    server = next(line for line in text.splitlines() if "server:" in line)
    away.write_text(text.replace(server.split("server:")[1], " https://127.0.0.1:1"), encoding="utf-8")
    own_stage.kubeconfig = away
    own_stage.process = own_stage.provisioner()
    own_stage.process.start()
    eventually(lambda: status(own_stage.port, "/healthz") == 200, "it to live")
    assert status(own_stage.port, "/readyz") == 503
    assert own_stage.process.stop() == 0


def test_each_line_of_the_log_about_a_claim_names_claim_pv_and_volume(own_stage: Stage) -> None:
    own_stage.config["log"] = {"level": "info", "format": "json"}
    own_stage.process = own_stage.provisioner()
    own_stage.up()
    own_stage.claim("good")
    own_stage.claim("bad", notes={"lundock.io/image": "Not An Image"})
    own_stage.claim("waits", notes={"lundock.io/image": "no-such-image"})
    pv = own_stage.bound("good")
    own_stage.wait_event("bad", "BadImage")
    own_stage.wait_event("waits", "UnknownImage")
    own_stage.delete_claim("good")
    eventually(lambda: not own_stage.pvs(), "the PV to go")
    own_stage.process.stop()
    lines = [json.loads(line) for line in own_stage.process.log.read_text(encoding="utf-8").splitlines()]
    about = [line for line in lines if line["event"] in ("provisioned", "deleted", "cannot be done", "not yet")]
    assert {line["event"] for line in about} == {"provisioned", "deleted", "cannot be done", "not yet"}
    for line in about:
        assert line["claim"].startswith(f"{own_stage.namespace}/"), line
        assert line["pv"].startswith("pvc-"), line
        assert line["volume"].startswith("pvc-"), line
    assert [line["volume"] for line in about if line["event"] == "deleted"] == [pv["metadata"]["name"]]
