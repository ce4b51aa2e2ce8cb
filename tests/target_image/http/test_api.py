"""The HTTP API: its contract (by schemathesis), its errors, and who may use it."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pydantic import BaseModel

from lundock_common.quantity import GIB, MIB
from target_image.agent.errors import SettingsError
from target_image.agent.settings import Settings
from target_image.api import problems
from target_image.api.client import ApiProblem, TargetClient
from target_image.api.requests import ExportSpec, ImageSpec, VolumeSpec
from tests.capabilities import need
from tests.target_image import image_server, initiator
from tests.target_image.agent import AgentProcess
from tests.target_image.conftest import MakeAgent, export_spec, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration
TOKEN = "the-right-token"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def test_every_error_is_a_problem(agent: AgentProcess, session: requests.Session) -> None:
    for method, path, content, status, code in [
        ("GET", "/v1/volumes/nothing", None, 404, "not-found"),
        ("GET", "/v1/nothing", None, 404, "not-found"),
        ("POST", "/v1/volumes", {}, 405, "method-not-allowed"),
        ("PUT", "/v1/volumes/UPPER", {"size_bytes": 1}, 422, "invalid"),
        ("PUT", "/v1/volumes/disk", {"size_bytes": -1}, 422, "invalid"),
        ("PUT", "/v1/volumes/disk", {"size_bytes": 1, "typo": 1}, 422, "invalid"),
        ("PUT", "/v1/images/a", {"urls": ["http://[x/"], "digest": "sha256:" + "0" * 64}, 422, "invalid"),
        (
            "PUT",
            "/v1/volumes/disk",
            {"size_bytes": 1, "owner": None, "source": {"type": "image", "image": "no"}},
            422,
            "unknown-image",
        ),
    ]:
        answer = session.request(method, f"{agent.url}{path}", json=content, timeout=30)
        problem = problems.Problem.model_validate_json(answer.content)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.status_code, problem.status, problem.code) == (status, status, code), (method, path)
        assert problem.detail
        assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "password", ["sesame", "sesame\0and-the-rest", "sésame-ouvre-toi", "sesame\nsesame", "s" * 256]
)
def test_a_password_that_tgt_would_change_is_refused_and_not_repeated(
    agent: AgentProcess, session: requests.Session, password: str
) -> None:
    """tgt ends a password at a NUL, so that the six letters before it would open the door."""
    for chap in ({"password": password}, {"password": "twelve-letters", "mutual_password": password}):
        content = {"luns": [{"lun": 1, "volume": "disk"}], "chap": {"username": "disk", "mutual_username": "t", **chap}}
        answer = session.put(f"{agent.url}/v1/exports/disk", json=content, timeout=30)
        assert answer.status_code == 422
        assert f"chap.{list(chap)[-1]}" in answer.text
        for told in (answer.text, agent.log.read_text()):
            assert "same" not in told
            assert "ssss" not in told


def test_etags(agent: AgentProcess, session: requests.Session) -> None:
    url = f"{agent.url}/v1/volumes/disk"
    made = session.put(url, json={"size_bytes": MIB}, timeout=30)
    assert made.status_code == 201
    tag = made.headers["ETag"]
    assert session.get(url, timeout=30).headers["ETag"] == tag
    larger = {"size_bytes": 2**21}
    assert session.put(url, json=larger, timeout=30).status_code == 428
    assert session.put(url, json=larger, headers={"If-Match": '"77"'}, timeout=30).status_code == 412
    grown = session.put(url, json=larger, headers={"If-Match": tag}, timeout=30)
    assert (grown.status_code, grown.headers["ETag"] != tag) == (200, True)
    # the same call again, after its answer was lost: done already is success (RFC 9110 section 13.1.1)
    assert session.put(url, json=larger, headers={"If-Match": tag}, timeout=30).status_code == 200
    gone = session.put(f"{agent.url}/v1/volumes/gone", json=larger, headers={"If-Match": tag}, timeout=30)
    assert gone.status_code == 412


def test_large_and_endless_bodies_are_refused(agent: AgentProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", agent.api_port, timeout=30)
    try:
        connection.request("PUT", "/v1/volumes/disk", headers={"Content-Length": str(GIB)})
        assert connection.getresponse().status == 413
        connection.close()
        connection.request("PUT", "/v1/volumes/disk", body=iter([b"{}"]), encode_chunked=True)
        assert connection.getresponse().status == 411
    finally:
        connection.close()


def test_the_token_is_asked_for_and_read_again(make_agent: MakeAgent, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    agent = make_agent("--token-file", str(token_file)).start()
    with TargetClient(agent.url) as nobody, TargetClient(agent.url, token_file=token_file) as client:
        with pytest.raises(ApiProblem) as caught:
            nobody.list_volumes()
        assert (caught.value.status, caught.value.code) == (401, "unauthorized")
        client.ensure_volume("disk", volume_spec())
        token_file.write_text("another-token")
        assert [volume.id for volume in client.list_volumes()] == ["disk"]
        with TargetClient(agent.url, token=TOKEN) as late, pytest.raises(ApiProblem):
            late.list_volumes()
        token_file.write_text("")
        with pytest.raises(ApiProblem, match="empty"):
            client.list_volumes()
    assert TOKEN not in agent.log.read_text()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(api_address="0.0.0.0"),  # noqa: S104 - that is the point
        Settings(tls_cert_file=Path("cert.pem")),
        Settings(shards=0),
        Settings(iscsi_addresses=()),
        Settings(overcommit_ratio=0),
    ],
)
def test_unsafe_settings_are_refused(settings: Settings) -> None:
    with pytest.raises(SettingsError):
        settings.check()


def test_beyond_loopback_without_a_token_the_agent_does_not_start(make_agent: MakeAgent) -> None:
    agent = make_agent("--api-address", "0.0.0.0").start(ready=False)  # noqa: S104
    assert agent.wait() == 2
    assert "--token-file" in agent.log.read_text()


def test_tls_with_a_renewed_certificate(make_agent: MakeAgent, tmp_path: Path) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    _certificate(cert, key, serial=1)
    agent = make_agent("--tls-cert-file", str(cert), "--tls-key-file", str(key)).start(ready=False)
    url = f"https://127.0.0.1:{agent.api_port}"
    eventually(lambda: "api listens" in agent.log.read_text(), "the API listens")
    with TargetClient(url, ca_file=cert) as client:
        assert client.capabilities().engine == "tgt"
    before = ssl.get_server_certificate(("127.0.0.1", agent.api_port))
    _certificate(cert, key, serial=2)
    eventually(
        lambda: ssl.get_server_certificate(("127.0.0.1", agent.api_port)) != before, "the new certificate is served"
    )


def test_health_and_metrics(make_agent: MakeAgent, session: requests.Session) -> None:
    need("qemu-iscsi")
    agent = make_agent("--image-hosts", "127.0.0.0/8").start()
    metrics_url = f"http://127.0.0.1:{agent.api_port + 2}/metrics"
    with agent.client() as client, image_server.running() as images:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
        images.add("/a.img", bytes(MIB), hold=(hold := threading.Event()))
        client.put_image("a", ImageSpec(urls=[images.url("/a.img")], digest="sha256:" + "0" * 64))
        eventually(lambda: _image_bytes(client, "a") > 0, "half of the image is there")
        session.request("NONSENSE", f"{agent.url}/v1/volumes", timeout=30)
        with initiator.Session(agent.login("disk")) as disk:
            disk.write(0, MIB, pattern=1)
            metrics = session.get(metrics_url, timeout=30).text
        hold.set()
    for port in (agent.api_port, agent.api_port + 1):
        for path in ("healthz", "readyz"):
            assert session.get(f"http://127.0.0.1:{port}/{path}", timeout=30).status_code == 200
    for line in (
        "lundock_target_ready 1.0",
        'lundock_target_exports{phase="ready"} 1.0',
        "lundock_target_promised_bytes 1.6777216e+07",
        'lundock_target_request_seconds_count{method="PUT",path="/v1/volumes/{id}",status="201"} 1.0',
        'lundock_target_sessions{export="disk"} 1.0',
        'lundock_target_session_written_bytes{export="disk",lun="1"} 1.048576e+06',
        'lundock_target_image_total_bytes{image="a"} 1.048576e+06',
        "lundock_target_engine_restarts_total 0.0",
    ):
        assert line in metrics
    assert 'lundock_target_image_done_bytes{image="a"} 5' in metrics
    assert "lundock_target_free_bytes " in metrics
    assert "NONSENSE" not in metrics  # or a stranger could fill the memory with words


def test_the_page_can_be_left_out(make_agent: MakeAgent, session: requests.Session) -> None:
    page = "http://127.0.0.1:{}/"
    shown, hidden = make_agent(name="shown").start(), make_agent("--no-page", name="hidden").start()
    assert "Lundock" in session.get(page.format(shown.api_port + 1), timeout=30).text
    answer = session.get(page.format(hidden.api_port + 1), timeout=30)
    assert (answer.status_code, "Lundock" in answer.text) == (404, False)
    assert session.get(page.format(hidden.api_port + 1) + "healthz", timeout=30).status_code == 200


def _image_bytes(client: TargetClient, name: str) -> int:
    image = client.get_image(name)
    return 0 if image is None else image.bytes_done


def test_the_examples_of_the_document_are_requests_that_it_takes(
    agent: AgentProcess, session: requests.Session
) -> None:
    document = session.get(f"{agent.url}/openapi.json", timeout=30).json()
    assert document["openapi"] == "3.1.0"
    models: dict[str, type[BaseModel]] = {"volumes": VolumeSpec, "exports": ExportSpec, "images": ImageSpec}
    seen = set()
    for path, operations in document["paths"].items():
        if "requestBody" in operations.get("put", {}):
            kind = path.split("/")[2]
            for example in operations["put"]["requestBody"]["content"]["application/json"]["examples"].values():
                models[kind].model_validate(example["value"])
                seen.add(kind)
    assert seen == set(models)


def test_logs_are_json_with_the_request_id(agent: AgentProcess, session: requests.Session) -> None:
    answer = session.put(f"{agent.url}/v1/volumes/disk", json={"size_bytes": 1}, timeout=30)

    def said() -> set[str]:
        """The events of this request. The last is written after the answer; the last line may not be whole yet."""
        lines = [json.loads(line) for line in agent.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return {line["event"] for line in lines if line.get("request_id") == answer.headers["X-Request-ID"]}

    eventually(lambda: said() == {"volume promised", "request"}, "the request in the log")


def test_schemathesis_finds_nothing(make_agent: MakeAgent, tmp_path: Path) -> None:
    """No 5xx, no answer that the schema does not know, no way around the token, over what schemathesis thinks up."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    agent = make_agent("--token-file", str(token_file)).start()
    with TargetClient(agent.url, token=TOKEN) as client:
        client.ensure_volume("disk", volume_spec())
        client.ensure_export("disk", export_spec("disk"))
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{agent.url}/openapi.json", "--url", agent.url),
            *("--checks", ",".join(CHECKS), "--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-examples", "8", "--generation-deterministic", "--no-color", "--workers", "1"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + agent.log.read_text()[-3000:]


def _certificate(cert: Path, key: Path, serial: int) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=target", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-set_serial", str(serial), "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
