"""A real agent as a process of its own, on free ports, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from cluster.machine.ports import free_ports
from target_image.api.client import TargetClient
from tests.target_image.initiator import Login
from tests.waiting import eventually

PATIENCE_S = 120.0
"""For a start or an end, which take seconds; in the emulated guest of a busy machine they have taken more than 30."""


def serve_argv(data_dir: Path, run_dir: Path, share_dir: Path, first_port: int, shards: int = 1) -> list[str]:
    """`lundock-target serve` on loopback. Ports from the first on: the shards, the API, the page, the metrics."""
    api_port = first_port + shards
    options = {
        "data-dir": data_dir,
        "run-dir": run_dir,
        "share-dir": share_dir,
        "iscsi-addresses": "127.0.0.1",
        "iscsi-port": first_port,
        "shards": shards,
        "api-port": api_port,
        "page-address": "127.0.0.1",
        "page-port": api_port + 1,
        "metrics-address": "127.0.0.1",
        "metrics-port": api_port + 2,
        "delete-grace-s": 0,
    }
    return [sys.executable, "-m", "target_image.agent", *(f"--{name}={value}" for name, value in options.items())]


class AgentProcess:
    """`lundock-target serve`. Start it, kill it, start it again: the folder stays."""

    def __init__(self, folder: Path, *options: str, shards: int = 1, code: Path | None = None) -> None:
        """`code` is a folder with the packages of another version, which runs instead of this one."""
        self.folder = folder
        self.data = folder / "data"
        self.run = folder / "run"
        self.port = free_ports(shards + 3)
        self.api_port = self.port + shards
        self.log = folder / "agent.log"
        self._argv = [
            *serve_argv(self.data, self.run, folder, self.port, shards),
            *("--check-interval-s=0.5", *options),
        ]
        self._code = code  # as the working folder, too: `python -m` looks there first
        self._environment = None if code is None else {**os.environ, "PYTHONPATH": str(code)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def portal(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> TargetClient:
        return TargetClient(self.url, timeout_s=30)

    def login(self, export_id: str, user: str | None = None, password: str | None = None, **more: str) -> Login:
        return Login(self.portal, f"iqn.2026-11.io.lundock:{export_id}", user, password, **more)

    def start(self, *, ready: bool = True) -> AgentProcess:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, env=self._environment, cwd=self._code)
        if ready:
            try:
                eventually(self.ready, "the agent is ready", PATIENCE_S)
            except BaseException:
                self.kill()  # or the next test meets it
                raise
        return self

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def tgtd_pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        pids = [int(pid) for path in children for pid in path.read_text().split()]
        return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "tgtd"]

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code of an agent that ends by itself."""
        assert self._process is not None
        code = self._process.wait(timeout=PATIENCE_S)
        self._process = None
        return code

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
