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

from cluster.components.build import Binaries, build
from cluster.components.certificates import Authority, KeyPair
from cluster.machine import shell
from cluster.machine.ports import Ports
from cluster.machine.processes import Processes, end, is_alive
from cluster.places import Places, write

SERVICES = "10.231.128.0/17"
KUBERNETES_SERVICE = "10.231.128.1"
"""The first address of SERVICES, which the API server gives to the Service `kubernetes`."""

ADMINISTRATORS = "system:masters"

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

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = ()) -> Path:
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
        pair = self.authority.issue("etcd", "etcd", addresses=["127.0.0.1", "localhost"])
        authority = self.authority.files.certificate
        client, peer = (f"https://127.0.0.1:{port}" for port in (self.ports.etcd, self.ports.etcd_peer))
        self.places.etcd.parent.mkdir(parents=True, exist_ok=True)
        self.processes.start(
            "etcd",
            self.binaries.path("etcd"),
            f"--data-dir={self.places.etcd}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            *(f"--{kind}cert-file={pair.certificate}" for kind in ("", "peer-")),
            *(f"--{kind}key-file={pair.key}" for kind in ("", "peer-")),
            *(f"--{kind}trusted-ca-file={authority}" for kind in ("", "peer-")),
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--unsafe-no-fsync",  # the data does not outlive the cluster, so a power cut may have it
            "--log-level=warn",
        )

    def _start_apiserver(self) -> None:
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        addresses = [self.address, "127.0.0.1", "localhost", KUBERNETES_SERVICE, *names]
        serving = self.authority.issue("kube-apiserver", "kube-apiserver", addresses=addresses)
        etcd = self.authority.issue("apiserver-etcd", "apiserver-etcd")
        kubelet = self.authority.issue("apiserver-kubelet", "apiserver-kubelet", [ADMINISTRATORS])
        aggregator = self.authority.issue("front-proxy-client", "front-proxy-client")
        accounts = self.authority.signing_key("service-accounts")
        authority = self.authority.files.certificate
        alone = self.address == "127.0.0.1"
        self.processes.start(
            "kube-apiserver",
            self.binaries.path("kube-apiserver"),
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.ports.apiserver}",
            # A loopback address cannot be an endpoint of the Service `kubernetes`.
            f"--endpoint-reconciler-type={'none' if alone else 'master-count'}",
            f"--etcd-servers=https://127.0.0.1:{self.ports.etcd}",
            f"--etcd-cafile={authority}",
            f"--etcd-certfile={etcd.certificate}",
            f"--etcd-keyfile={etcd.key}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={authority}",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={kubelet.certificate}",
            f"--kubelet-client-key={kubelet.key}",
            f"--requestheader-client-ca-file={authority}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={aggregator.certificate}",
            f"--proxy-client-key-file={aggregator.key}",
            "--kubelet-preferred-address-types=InternalIP",  # the node's name need not resolve for logs and exec
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={accounts.certificate}",
            f"--service-account-signing-key-file={accounts.key}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
            *self.apiserver_arguments,
        )

    def _start_controller_manager(self) -> None:
        config = self.kubeconfig_for("system:kube-controller-manager")
        authority = self.authority.files
        self.processes.start(
            "kube-controller-manager",
            self.binaries.path("kube-controller-manager"),
            *self._of_a_client(config, self.ports.controller_manager),
            f"--service-account-private-key-file={self.authority.signing_key('service-accounts').key}",
            f"--root-ca-file={authority.certificate}",
            f"--cluster-signing-cert-file={authority.certificate}",
            f"--cluster-signing-key-file={authority.key}",
            "--use-service-account-credentials=true",
            f"--flex-volume-plugin-dir={self.places.data / 'flex-volumes'}",
            "--kube-api-qps=500",  # its default of 20 makes every test wait
            "--kube-api-burst=1000",
        )

    def _start_scheduler(self) -> None:
        config = self.kubeconfig_for("system:kube-scheduler")
        self.processes.start(
            "kube-scheduler",
            self.binaries.path("kube-scheduler"),
            *self._of_a_client(config, self.ports.scheduler),
        )

    def _of_a_client(self, config: Path, port: int) -> list[str]:
        kinds = ("", "authentication-", "authorization-")
        return [
            *(f"--{kind}kubeconfig={config}" for kind in kinds),
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--leader-elect=false",
            "--profiling=false",
        ]


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
