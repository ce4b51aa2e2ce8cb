"""The command-line arguments of the control plane's components.

Each function also issues the certificates that it names, at the first call.
"""

from __future__ import annotations

from pathlib import Path

from cluster.components.certificates import Authority
from cluster.machine.network import KUBERNETES_SERVICE, SERVICES
from cluster.machine.ports import Ports

ADMINISTRATORS = "system:masters"
"""The group that may do everything."""


def etcd(ports: Ports, authority: Authority, data: Path) -> list[str]:
    pair = authority.issue("etcd", "etcd", addresses=["127.0.0.1", "localhost"])
    trusted = authority.files.certificate
    client, peer = (f"https://127.0.0.1:{port}" for port in (ports.etcd, ports.etcd_peer))
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        *(f"--{kind}cert-file={pair.certificate}" for kind in ("", "peer-")),
        *(f"--{kind}key-file={pair.key}" for kind in ("", "peer-")),
        *(f"--{kind}trusted-ca-file={trusted}" for kind in ("", "peer-")),
        "--client-cert-auth",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",  # the data does not outlive the cluster, so a power cut may have it
        "--log-level=warn",
    ]


def apiserver(ports: Ports, authority: Authority, address: str) -> list[str]:
    """For an API server that listens on this address; on loopback there are no nodes."""
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    addresses = [address, "127.0.0.1", "localhost", KUBERNETES_SERVICE, *names]
    serving = authority.issue("kube-apiserver", "kube-apiserver", addresses=addresses)
    etcd = authority.issue("apiserver-etcd", "apiserver-etcd")
    kubelet = authority.issue("apiserver-kubelet", "apiserver-kubelet", [ADMINISTRATORS])
    aggregator = authority.issue("front-proxy-client", "front-proxy-client")
    accounts = authority.make_signing_key("service-accounts")
    trusted = authority.files.certificate
    alone = address == "127.0.0.1"
    return [
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={ports.apiserver}",
        # A loopback address cannot be an endpoint of the Service `kubernetes`.
        f"--endpoint-reconciler-type={'none' if alone else 'master-count'}",
        f"--etcd-servers=https://127.0.0.1:{ports.etcd}",
        f"--etcd-cafile={trusted}",
        f"--etcd-certfile={etcd.certificate}",
        f"--etcd-keyfile={etcd.key}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={trusted}",
        f"--kubelet-certificate-authority={trusted}",
        f"--kubelet-client-certificate={kubelet.certificate}",
        f"--kubelet-client-key={kubelet.key}",
        f"--requestheader-client-ca-file={trusted}",
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
    ]


def controller_manager(ports: Ports, authority: Authority, kubeconfig: Path, flex_volumes: Path) -> list[str]:
    return [
        *_of_a_client(kubeconfig, ports.controller_manager),
        f"--service-account-private-key-file={authority.make_signing_key('service-accounts').key}",
        f"--root-ca-file={authority.files.certificate}",
        f"--cluster-signing-cert-file={authority.files.certificate}",
        f"--cluster-signing-key-file={authority.files.key}",
        "--use-service-account-credentials=true",
        f"--flex-volume-plugin-dir={flex_volumes}",
        "--kube-api-qps=500",  # its default of 20 makes every test wait
        "--kube-api-burst=1000",
    ]


def scheduler(ports: Ports, kubeconfig: Path) -> list[str]:
    return _of_a_client(kubeconfig, ports.scheduler)


def _of_a_client(kubeconfig: Path, port: int) -> list[str]:
    """What the components have in common that work through the API server."""
    return [
        *(f"--{kind}kubeconfig={kubeconfig}" for kind in ("", "authentication-", "authorization-")),
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--profiling=false",
    ]
