"""etcd, the API server, the controller manager and the scheduler, as processes on one address.

Alone (`ControlPlane.alone`) it is what tests of API clients need: namespaces, service accounts and tokens, RBAC, claims
that bind, admission; no node, so no pod runs. A node is added by `node`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from cluster.components import arguments
from cluster.components.arguments import ADMINISTRATORS
from cluster.components.build import Binaries, build
from cluster.components.certificates import Authority, KeyPair
from cluster.machine import shell
from cluster.machine.ports import Ports
from cluster.machine.processes import Processes, end, is_alive
from cluster.places import Places, write

SCRATCH = "lundock-api-"
"""The folder of a control plane alone, followed by the process that uses it."""


@dataclass(frozen=True)
class ControlPlane:
    """The control plane of one cluster. All state is in its folders: two objects on the same places are one cluster."""

    places: Places
    binaries: Binaries
    address: str = "127.0.0.1"
    """Where the API server listens; with a node, an address that pods reach."""
    apiserver_arguments: tuple[str, ...] = ()
    """More arguments of the API server, such as an audit policy."""

    @classmethod
    @contextlib.contextmanager
    def alone(cls, *apiserver_arguments: str) -> Iterator[ControlPlane]:
        """A fresh control plane on loopback, gone afterwards. Any number may run at once, and none needs root."""
        sweep()
        scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
        places = Places(run=scratch, data=scratch / "data")
        plane = cls(places, build(), apiserver_arguments=apiserver_arguments)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()
            shutil.rmtree(scratch, ignore_errors=True)

    @property
    def processes(self) -> Processes:
        return Processes(self.places.run, self.places.logs)

    @property
    def ports(self) -> Ports:
        return Ports.load(self.places.state)

    @property
    def authority(self) -> Authority:
        return Authority(self.places.certificates)

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.ports.apiserver}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for KUBECONFIG or --kubeconfig."""
        return self.places.kubeconfig

    def start(self, schedule: bool = False) -> None:
        """Start what does not run, and wait until the API answers.

        Args:
            schedule: start the scheduler too: without a node it has nothing to do.

        Raises:
            NotReady: a component did not come up; with its log's end.
        """
        self._start_etcd()
        self._start_apiserver()
        self._write_kubeconfig(self.kubeconfig, "kubernetes-admin", [ADMINISTRATORS])
        self.processes.wait("kube-apiserver", self.is_ready, timeout_s=90)
        self._start_controller_manager()
        if schedule:
            self._start_scheduler()
        self.processes.wait("kube-controller-manager", self._has_default_account, timeout_s=60)

    def stop(self) -> None:
        """Kill every process of the cluster: nothing here is worth an orderly shutdown, for `down` deletes its data."""
        end(self.processes.all(), patience_s=0)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 180) -> str:
        """Run kubectl as the administrator and return its stdout.

        Raises:
            CommandFailed: with kubectl's message.
        """
        kubectl = self.binaries.path("kubectl")
        return shell.run(kubectl, *arguments, stdin=stdin, timeout_s=timeout_s, environment=self.client_environment)

    def helm(self, *arguments: str | Path, timeout_s: float = 600) -> str:
        """Run helm as the administrator and return its stdout.

        Raises:
            CommandFailed: with helm's message.
        """
        helm = self.binaries.path("helm")
        return shell.run(helm, *arguments, timeout_s=timeout_s, environment=self.client_environment)

    @property
    def client_environment(self) -> dict[str, str]:
        """For kubectl, helm and programs with a Kubernetes client: this cluster, whatever the user has configured."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{self.binaries.folder}:{shell.SEARCH_PATH}",
            **{
                f"HELM_{kind}_HOME": str(self.places.run / "helm" / kind.lower())
                for kind in ("CACHE", "CONFIG", "DATA")
            },
        }

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready, all its start-up hooks included."""
        return self._get("/readyz") is not None

    def make_kubeconfig(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig of a component's own user."""
        file = self.places.run / f"{user.replace(':', '-')}.kubeconfig"
        self._write_kubeconfig(file, user, list(groups))
        return file

    def _get(self, path: str) -> requests.Response | None:
        admin = self._administrator()
        client = (str(admin.certificate), str(admin.key))
        authority = str(self.authority.files.certificate)
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.get(f"{self.url}{path}", cert=client, verify=authority, timeout=5)
        except requests.RequestException:
            return None
        return answer if answer.ok else None

    def _has_default_account(self) -> bool:
        """The controller manager works when the namespace `default` has its service account: pods need that."""
        return self._get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def _administrator(self) -> KeyPair:
        return self.authority.issue("kubernetes-admin", "kubernetes-admin", [ADMINISTRATORS])

    def _write_kubeconfig(self, file: Path, user: str, groups: list[str]) -> None:
        pair = self.authority.issue(user.replace(":", "-"), user, groups)
        document = kubeconfig(self.url, self.authority.files.certificate, user, pair)
        write(file, yaml.safe_dump(document), mode=0o600)

    def _start_etcd(self) -> None:
        self.places.etcd.parent.mkdir(parents=True, exist_ok=True)
        self._start("etcd", arguments.etcd(self.ports, self.authority, self.places.etcd))

    def _start_apiserver(self) -> None:
        standard = arguments.apiserver(self.ports, self.authority, self.address)
        self._start("kube-apiserver", [*standard, *self.apiserver_arguments])

    def _start_controller_manager(self) -> None:
        config = self.make_kubeconfig("system:kube-controller-manager")
        flex_volumes = self.places.data / "flex-volumes"
        self._start(
            "kube-controller-manager", arguments.controller_manager(self.ports, self.authority, config, flex_volumes)
        )

    def _start_scheduler(self) -> None:
        config = self.make_kubeconfig("system:kube-scheduler")
        self._start("kube-scheduler", arguments.scheduler(self.ports, config))

    def _start(self, component: str, options: list[str]) -> None:
        self.processes.start(component, self.binaries.path(component), *options)


def sweep() -> None:
    """End the control planes whose user was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        user = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if user.isdigit() and not is_alive(int(user)):
            end(Processes(folder, folder).all(), patience_s=0)
            shutil.rmtree(folder, ignore_errors=True)


def kubeconfig(url: str, authority: Path, user: str, pair: KeyPair) -> dict[str, object]:
    """A kubeconfig with its certificates inside, so that it can be copied."""
    client = {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "lundock", "cluster": {"server": url, "certificate-authority-data": _encoded(authority)}}
        ],
        "users": [{"name": user, "user": client}],
        "contexts": [{"name": "lundock", "context": {"cluster": "lundock", "user": user}}],
        "current-context": "lundock",
    }


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
