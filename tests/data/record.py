"""Records what the agent of a commit answers, and its ledger: `python -m tests.data.record 8622457`.

    tests/data/<commit>/answers.json   requests in order, each with what it was answered
    tests/data/<commit>/ledger.sql     the ledger that they left, as an SQL script

The agent runs over a real tgtd. What belongs to the machine (folders, ports) is replaced by fixed names.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from cluster.machine.ports import free_ports
from tests.target_image import history, image_server
from tests.target_image.agent import serve_argv
from tests.target_image.initiator import Login, Session
from tests.waiting import eventually

MIB = 2**20
TOKEN = "recorded-token"
HEADERS = ("ETag", "Retry-After", "WWW-Authenticate")
ZEROS, ONES, TWOS = (f"sha256:{digit * 64}" for digit in "012")
"""Digests that no image has; each is fetched once."""
OWNER = {
    "cluster": "5c2f3b1e-8d70-4f4e-9d0b-3a52c4a7f001",
    "release": "lundock/lundock",
    "namespace": "default",
    "claim": "vm-disk",
    "claim_uid": "080681c0-2193-4a4d-ac3c-ce73ed749500",
}
CHAP = {"username": "chap", "password": "recorded-chap-password"}
MUTUAL = {
    "username": "mutual",
    "password": "recorded-password",
    "mutual_username": "mutual-target",
    "mutual_password": "recorded-target-password",
}


class Recorder:
    """Sends requests and keeps what they were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {TOKEN}"
        self.answers: list[dict[str, Any]] = []

    def send(self, method: str, path: str, content: object = None, **headers: str) -> requests.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._session.request(method, f"{self._url}{path}", json=content, headers=sent, timeout=30)

    def record(self, method: str, path: str, content: object = None, **headers: str) -> Any:
        answer = self.send(method, path, content, **headers)
        kept = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        found = answer.json() if answer.content else None
        print(answer.status_code, method, path, answer.text[:100])
        self.answers.append(
            {
                "request": {"method": method, "path": path, "headers": headers, "content": content},
                "status": answer.status_code,
                "headers": kept,
                "content": found,
            }
        )
        return found

    def phase(self, path: str) -> str:
        return str(self.send("GET", path).json()["phase"])


def record(commit: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="record-") as name, image_server.running() as images:
        temporary = Path(name)
        code = history.extract(commit, temporary / "code")
        first_port = free_ports(4)
        (temporary / "share").mkdir()
        (temporary / "share" / "demo.img.gz").write_bytes(gzip.compress(b"\1" * MIB, mtime=0))
        (temporary / "token").write_text(TOKEN)
        (temporary / "host").mkdir()
        with (temporary / "host" / "disk.img").open("wb") as file:
            file.truncate(4 * MIB)
        argv = serve_argv(temporary / "data", temporary / "run", temporary / "share", first_port)
        argv += ["--demo", "--image-hosts=127.0.0.0/8", f"--token-file={temporary / 'token'}", "--check-interval-s=0.2"]
        demo = {"EXPORT_HOST_PATHS": str(temporary / "host" / "disk.img"), "SIZE": "8M", "IMAGES": ""}
        with (temporary / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                argv, env={**os.environ, **demo, "PYTHONPATH": str(code)}, stdout=log, stderr=log, cwd=temporary
            )
        recorder = Recorder(f"http://127.0.0.1:{first_port + 1}")
        try:
            eventually(lambda: _answers(recorder), "the agent answers")
            eventually(lambda: recorder.send("GET", "/v1/exports/demo").status_code == 200, "the demo is served")
            _images(recorder, images)
            _volumes(recorder, images, temporary / "data")
            _exports(recorder, temporary / "data")
            _problems(recorder)
            _sessions(recorder, first_port)
            _reads(recorder)
        finally:
            agent.terminate()
            agent.wait()

        def neutral(text: str) -> str:
            for found, name in (
                (str(temporary / "data"), "/var/lib/lundock"),
                (str(temporary / "host"), "/srv/disks"),
                (str(temporary / "share"), "/usr/share/lundock"),
                (f"http://127.0.0.1:{images.port}", "http://images.example.org"),
                (f"127.0.0.1:{first_port}", "127.0.0.1:3260"),
            ):
                text = text.replace(found, name)
            return text

        folder.mkdir(exist_ok=True)
        (folder / "answers.json").write_text(neutral(json.dumps(recorder.answers, indent=1)) + "\n")
        with closing(sqlite3.connect(temporary / "data" / "ledger.sqlite")) as ledger:
            version = ledger.execute("PRAGMA user_version").fetchone()[0]
            script = "\n".join([*ledger.iterdump(), f"PRAGMA user_version = {version};"])
        (folder / "ledger.sql").write_text(neutral(script) + "\n")


def _answers(recorder: Recorder) -> bool:
    try:
        return recorder.send("GET", "/readyz").status_code == 200
    except requests.ConnectionError:
        return False


def _images(recorder: Recorder, images: image_server.ImageServer) -> None:
    content = b"\2" * MIB
    spec = {
        "urls": [images.add("/mine.img", content)],
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "format": "raw",
        "licence": "CC0-1.0",
    }
    recorder.record("PUT", "/v1/images/mine", spec)
    eventually(lambda: recorder.phase("/v1/images/mine") == "ready", "the image is ready")
    recorder.record("PUT", "/v1/images/mine", spec)
    recorder.record("PUT", "/v1/images/broken", {"urls": [images.add("/broken.img", content)], "digest": ZEROS})
    eventually(lambda: recorder.phase("/v1/images/broken") == "failed", "the image has failed")
    hold = threading.Event()
    recorder.record("PUT", "/v1/images/slow", {"urls": [images.add("/slow.img", content, hold=hold)], "digest": ONES})
    eventually(lambda: recorder.send("GET", "/v1/images/slow").json()["bytes_done"], "bytes arrive")


def _volumes(recorder: Recorder, images: image_server.ImageServer, data: Path) -> None:
    def make(id: str, mib: int = 16, **more: object) -> None:
        recorder.record("PUT", f"/v1/volumes/{id}", {"size_bytes": mib * MIB, **more})

    make("empty")
    make("empty")
    make("owned", owner=OWNER)
    make("thick", 8, thin=False)
    make("from-demo", 4, source={"type": "image", "image": "demo"})
    make("from-mine", 4, source={"type": "image", "image": "mine"})
    make("filling", 4, source={"type": "image", "image": "slow"})
    for id in ("from-demo", "from-mine"):
        eventually(lambda id=id: recorder.phase(f"/v1/volumes/{id}") == "ready", f"{id} is ready")  # type: ignore[misc]
    make("clone", 4, source={"type": "volume", "volume": "from-mine", "allow_in_use": True})
    eventually(lambda: recorder.phase("/v1/volumes/clone") == "ready", "the clone is ready")
    make("grown")
    recorder.record("PUT", "/v1/volumes/grown", {"size_bytes": 32 * MIB}, If_Match='"1"')
    make("trashed")
    recorder.record("PUT", "/v1/volumes/trashed/trash")
    recorder.record("PUT", "/v1/volumes/thick/trash")
    recorder.record("DELETE", "/v1/volumes/thick/trash")
    # Fails while it is filled: its image arrives, and is not what the digest says.
    late = {"urls": [images.add("/late.img", b"\3" * MIB, wait_s=1.0)], "digest": TWOS}
    recorder.record("PUT", "/v1/images/late", late)
    make("failed", 4, source={"type": "image", "image": "late"})
    eventually(lambda: recorder.phase("/v1/volumes/failed") == "failed", "the volume has failed")
    make("lost")
    make("deleted")
    recorder.record("DELETE", "/v1/volumes/deleted")


def _exports(recorder: Recorder, data: Path) -> None:
    def make(id: str, *volumes: str, **more: object) -> None:
        luns = [{"lun": number, "volume": volume} for number, volume in enumerate(volumes, start=1)]
        recorder.record("PUT", f"/v1/exports/{id}", {"luns": luns, **more})

    make("open", "empty")
    make("chap", "owned", chap=CHAP, owner=OWNER, access={"initiators": ["iqn.2026-11.org.example:node-1"]})
    make("mutual", "clone", chap=MUTUAL)
    make("networks", "thick", access={"networks": ["192.0.2.0/24", "127.0.0.1/32"]})
    make("many", "from-demo", "from-mine", "grown", iqn="iqn.2026-11.org.example:many")
    read_only = [{"lun": 7, "volume": "from-mine", "read_only": True}]
    recorder.record("PUT", "/v1/exports/read-only", {"luns": read_only})
    changed = {"luns": read_only, "access": {"initiators": ["iqn.2026-11.org.example:node-2"]}}
    recorder.record("PUT", "/v1/exports/read-only", changed, If_Match='"1"')
    make("offline", "lost")
    (data / "volumes" / "lost.raw").unlink()
    eventually(lambda: recorder.phase("/v1/exports/offline") == "offline", "the export is offline")
    make("deleted", "empty")
    recorder.record("DELETE", "/v1/exports/deleted")


def _problems(recorder: Recorder) -> None:
    sizes = {"size_bytes": 16 * MIB}
    luns = [{"lun": 1, "volume": "empty"}]
    recorder.record("GET", "/v1/volumes", Authorization="Bearer another")
    recorder.record("GET", "/v1/volumes/absent")
    recorder.record("GET", "/v1/nowhere")
    recorder.record("POST", "/v1/volumes")
    recorder.record("PUT", "/v1/volumes/empty", {**sizes, "thin": False})
    recorder.record("PUT", "/v1/volumes/empty", {"size_bytes": 64 * MIB})
    recorder.record("PUT", "/v1/volumes/empty", {"size_bytes": 64 * MIB}, If_Match='"9"')
    recorder.record("PUT", "/v1/volumes/huge", {"size_bytes": 2**60})
    recorder.record("PUT", "/v1/volumes/typo", {**sizes, "sise": 1})
    recorder.record("PUT", "/v1/volumes/unknown", {**sizes, "source": {"type": "image", "image": "absent"}})
    recorder.record("PUT", "/v1/volumes/broken", {**sizes, "source": {"type": "image", "image": "broken"}})
    recorder.record("PUT", "/v1/volumes/trashed", sizes)
    recorder.record("DELETE", "/v1/volumes/empty")
    recorder.record("PUT", "/v1/exports/other", {"luns": luns, "iqn": "iqn.2026-11.org.example:many"})
    recorder.record("PUT", "/v1/exports/open", {"luns": luns, "chap": CHAP | {"username": "another"}})
    both = {"initiators": ["iqn.2026-11.org.example:node-1"], "networks": ["192.0.2.1"]}
    recorder.record("PUT", "/v1/exports/both", {"luns": luns, "access": both})
    recorder.record("PUT", "/v1/images/demo", {"urls": ["http://images.example.org/a.img"], "digest": ZEROS})
    recorder.record("PUT", "/v1/images/far", {"urls": ["http://192.0.2.1/a.img"], "digest": ZEROS})


def _sessions(recorder: Recorder, port: int) -> None:
    with Session(Login(f"127.0.0.1:{port}", "iqn.2026-11.io.lundock:open", initiator="iqn.2026-11.org.example:vm")):
        recorder.record("GET", "/v1/sessions")
        recorder.record("GET", "/v1/exports/open")
        recorder.record("DELETE", "/v1/exports/open")
        recorder.record("PUT", "/v1/volumes/empty", {"size_bytes": 64 * MIB}, If_Match='"1"')


def _reads(recorder: Recorder) -> None:
    for what in ("volumes", "exports", "images"):
        items = recorder.record("GET", f"/v1/{what}")["items"]
        for item in items[:1]:
            recorder.record("GET", f"/v1/{what}/{item.get('id') or item['name']}")
    recorder.record("GET", "/v1/capabilities")
    recorder.record("GET", "/v1/capacity")
    recorder.record("GET", "/healthz")
    recorder.record("GET", "/readyz")


if __name__ == "__main__":
    record(sys.argv[1], Path(__file__).parent / sys.argv[1])
