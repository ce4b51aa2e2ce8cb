"""A stage for integration tests: the real provisioner and the real target as processes, on a real API server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml

from cluster.machine.ports import free_ports
from lundock_common import kubeconfig as kubeconfigs
from lundock_common import kubernetes_api
from lundock_common.kubernetes_api import CLAIMS, CLASSES, VOLUMES, Json
from lundock_common.limits import Pace
from target_image.api.client import TargetClient
from tests.target_image.agent import serve_argv
from tests.waiting import eventually


class Process:
    """A program of ours as a process, with its log in a file."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.argv = argv
        self.log = log
        self.environment = {**os.environ, **(env or {})}
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.argv, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    def kill(self) -> None:
        """kill -9 of it and of all that it started."""
        if self.running is not None:
            os.killpg(self.running.pid, signal.SIGKILL)
            self.running.wait(30)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, and its exit code."""
        assert self.running is not None
        self.running.terminate()
        try:
            return self.running.wait(timeout_s)
        finally:
            self.end()

    def end(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.kill()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


class TargetProcess(Process):
    """`lundock-target serve` on free ports and folders of its own.

    `host` is where it is reached, and `token_file` what its API asks for: `more` has to tell the target so.
    """

    def __init__(
        self, folder: Path, name: str, *more: str, host: str = "127.0.0.1", token_file: Path | None = None
    ) -> None:
        self.name = name
        self.host, self.token_file = host, token_file
        self.data_dir = folder / f"{name}-data"
        self.iscsi_port = free_ports(4)
        self.api_port, self._page_port = self.iscsi_port + 1, self.iscsi_port + 2
        self.url = f"http://{host}:{self.api_port}"
        share = folder / f"{name}-share"
        share.mkdir(exist_ok=True)
        # sun_path holds 107 bytes, and pytest's folders are long.
        self.run_dir = Path(f"/tmp/lundock-{uuid.uuid4().hex[:8]}")  # noqa: S108 (removed by the stage)
        argv = serve_argv(self.data_dir, self.run_dir, share, self.iscsi_port)
        super().__init__([*argv, *more], folder / f"{name}.log")
        self.client = TargetClient(self.url, token_file=token_file, timeout_s=30)

    def up(self) -> None:
        self.start()
        try:
            eventually(self._answers, f"target {self.name}", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with {self.tail()}") from None

    def _answers(self) -> bool:
        assert self.running is not None
        if self.running.poll() is not None:
            raise AssertionError(f"target {self.name} ended: {self.tail()}")
        try:
            return requests.get(f"http://{self.host}:{self._page_port}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def settings(self, labels: dict[str, str] | None = None) -> Json:
        found: Json = {"name": self.name, "url": self.url, "portalHost": self.host, "labels": labels or {}}
        return found if self.token_file is None else {**found, "tokenFile": str(self.token_file)}


class Stage:
    """One provisioner with its own name, class and namespace, so that stages on one API server do not meet."""

    def __init__(self, kubeconfig: Path, folder: Path, targets: list[TargetProcess]) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.name = f"{self.id}.lundock.io"
        self.kubeconfig = kubeconfig
        self.folder = folder
        self.targets = targets
        (folder / "key").write_text("k" * 40)
        self.port = free_ports()
        self.config: Json = {
            "provisionerName": self.name,
            "release": f"test/{self.id}",
            "targets": [target.settings() for target in targets],
            "leaderElection": {
                "namespace": "default",
                "name": f"lundock-{self.id}",
                "leaseDurationSeconds": 3,
                "renewDeadlineSeconds": 2,
                "retryPeriodSeconds": 0.5,
            },
            "chap": {"masterKeyFile": str(folder / "key")},
            "queue": {"backoffMaxSeconds": 2, "resyncSeconds": 10},
            "targetCalls": {"pollSeconds": 0.1},
            "http": {"address": "127.0.0.1", "healthPort": self.port, "metricsPort": self.port},
            "log": {"level": "debug", "format": "text"},
            "sweep": {"mode": "off"},
        }
        self.kube = kubernetes_api.Kube(kubeconfigs.find(str(kubeconfig)).configuration, Pace())
        self.namespace = f"test-{self.id}"
        self.kube.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self.make_class(self.id)
        self.process = self.provisioner()

    def provisioner(self, name: str = "provisioner", **changes: Json) -> Process:
        """Another process of the same release; `changes` are merged into sections of the configuration."""
        config = {**self.config}
        for section, change in changes.items():
            config[section] = {**config[section], **change} if isinstance(change, dict) else change
        file = self.folder / f"{name}-{self.id}.yaml"
        file.write_text(yaml.safe_dump(config))
        argv = [sys.executable, "-m", "provisioner", "run", f"--config={file}", f"--kubeconfig={self.kubeconfig}"]
        return Process(argv, self.folder / f"{name}-{self.id}.log")

    def up(self) -> None:
        self.process.start()
        eventually(self.working, "the provisioner to work", 60)

    def working(self) -> bool:
        assert self.process.running is not None
        if self.process.running.poll() is not None:
            raise AssertionError(f"the provisioner ended: {self.process.tail()}")
        return "lundock_provisioner_leading 1.0" in self.metrics()

    def metrics(self) -> str:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=2).text
        except requests.RequestException:
            return ""

    def down(self) -> None:
        """Everything of this stage away; what is left is a test's own concern."""
        self.process.end()
        for claim in self.claims():
            self._let_go(self._claim_path(claim["metadata"]["name"]))
        self.kube.delete(f"/api/v1/namespaces/{self.namespace}")
        for pv in self.pvs():
            path = kubernetes_api.volume_path(pv["metadata"]["name"])
            self._let_go(path)
            self.kube.delete(path)

    def _let_go(self, path: str) -> None:
        """Take off what keeps it. kube-controller-manager works on the same objects: gone already is as good."""
        with suppress(kubernetes_api.NotFound):
            self.kube.patch(path, {"metadata": {"finalizers": None}})

    def make_class(self, name: str, parameters: dict[str, str] | None = None, **fields: Any) -> str:
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": self.name,
            "allowVolumeExpansion": True,
            "parameters": parameters or {},
            **fields,
        }
        self.kube.create(CLASSES, body)
        return name

    def claim(self, name: str, size: str = "8Mi", notes: dict[str, str] | None = None, **spec: Any) -> Json:
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": notes or {}},
            "spec": {
                "storageClassName": self.id,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
                **spec,
            },
        }
        return self.kube.create(CLAIMS.replace("/v1/", f"/v1/namespaces/{self.namespace}/"), body)

    def get_claim(self, name: str) -> Json | None:
        try:
            return self.kube.get(self._claim_path(name))
        except kubernetes_api.NotFound:
            return None

    def patch_claim(self, name: str, body: Json) -> Json:
        return self.kube.patch(self._claim_path(name), body)

    def delete_claim(self, name: str) -> None:
        self.kube.delete(self._claim_path(name))

    def bound(self, name: str, timeout_s: float = 60) -> Json:
        """The claim's PV, once it is bound."""

        def look() -> Json | None:
            claim = self.get_claim(name)
            if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
                return None
            return self.kube.get(kubernetes_api.volume_path(claim["spec"]["volumeName"]))

        try:
            return eventually(look, f"claim {name} to be bound", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; events {self.events(name)}; log {self.process.tail()}") from None

    def secret(self, pv: Json) -> Json | None:
        reference = pv["spec"]["iscsi"]["secretRef"]
        try:
            return self.kube.get(kubernetes_api.secret_path(reference["namespace"], reference["name"]))
        except kubernetes_api.NotFound:
            return None

    def pvs(self) -> list[Json]:
        """The PVs of this stage."""
        key = "pv.kubernetes.io/provisioned-by"
        return [
            pv for pv in self.kube.list(VOLUMES)[0] if (pv["metadata"].get("annotations") or {}).get(key) == self.name
        ]

    def claims(self) -> list[Json]:
        return self.kube.list(CLAIMS.replace("/v1/", f"/v1/namespaces/{self.namespace}/"))[0]

    def events(self, about: str, reason: str = "", namespace: str = "") -> list[str]:
        """`reason: message` of our own events about an object."""
        found = self.kube.list(f"/api/v1/namespaces/{namespace or self.namespace}/events")[0]
        return [
            f"{event['reason']}: {event['message']}"
            for event in found
            if event["involvedObject"]["name"] == about
            and event["source"].get("component") == self.name
            and (not reason or event["reason"] == reason)
        ]

    def wait_event(self, about: str, text: str, namespace: str = "", timeout_s: float = 30) -> str:
        def look() -> str | None:
            return next((line for line in self.events(about, namespace=namespace) if text in line), None)

        try:
            return eventually(look, f"an event with {text!r} on {about}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; events {self.events(about, namespace=namespace)}") from None

    def _claim_path(self, name: str) -> str:
        return kubernetes_api.claim_path(self.namespace, name)


@contextmanager
def target_running(folder: Path, name: str, *more: str) -> Iterator[TargetProcess]:
    """A target that answers; `more` are further options of `lundock-target serve`."""
    target = TargetProcess(folder, name, *more)
    try:
        target.up()
        yield target
    finally:
        target.end()
        shutil.rmtree(target.run_dir, ignore_errors=True)
