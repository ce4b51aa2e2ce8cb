"""Where claims, volumes and secrets are looked up: in manifests on disk, or in a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import yaml

from vm_disks.errors import ClusterError
from vm_disks.objects import Document, part
from vm_disks.resolution import binding, data_volumes

if TYPE_CHECKING:  # takes most of a second, so it is imported where a cluster is asked
    from kubernetes.client import ApiClient

CLAIM = "PersistentVolumeClaim"
VOLUME = "PersistentVolume"
TIMEOUT_S = 10.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Lookup(Protocol):
    """Kubernetes objects by name; None is "there is none". Raises ClusterError when that can't be known."""

    def claim(self, namespace: str, name: str) -> Document | None: ...

    def volume(self, name: str) -> Document | None: ...

    def secret(self, namespace: str, name: str) -> Document | None: ...

    def service(self, namespace: str, name: str) -> Document | None: ...

    def namespaces_of(self, claim: str) -> Sequence[str]:
        """Namespaces known to have a claim of this name, to help with a mistake."""

    @property
    def inside_cluster(self) -> bool:
        """Whether the cluster's Service names resolve where the VM runs."""


class FromManifests:
    """Objects from `documents.load`. Claims are bound to PVs as the cluster's controller would do it.

    A DataVolume, or a VM's template of one, stands for the claim that CDI would make of it.
    """

    def __init__(
        self, documents: Sequence[Document], namespace: str = "default", *, inside_cluster: bool = True
    ) -> None:
        self.inside_cluster = inside_cluster
        self._objects: dict[tuple[str, str, str], Document] = {}
        for document in documents:
            self._objects[_key(document, namespace)] = document
        for document in documents:
            for claim in data_volumes.claims(document):
                self._objects.setdefault(_key(claim, namespace), claim)
        self._bind()

    def _bind(self) -> None:
        claims = {(place, name): doc for (kind, place, name), doc in self._objects.items() if kind == CLAIM}
        volumes = {name: doc for (kind, _, name), doc in self._objects.items() if kind == VOLUME}
        for (namespace, name), claim in binding.bind(claims, volumes).items():
            self._objects[CLAIM, namespace, name] = claim

    def claim(self, namespace: str, name: str) -> Document | None:
        return self._objects.get((CLAIM, namespace, name))

    def volume(self, name: str) -> Document | None:
        return self._objects.get((VOLUME, "", name))

    def secret(self, namespace: str, name: str) -> Document | None:
        return self._objects.get(("Secret", namespace, name))

    def service(self, namespace: str, name: str) -> Document | None:
        return self._objects.get(("Service", namespace, name))

    def namespaces_of(self, claim: str) -> Sequence[str]:
        return sorted(place for kind, place, name in self._objects if kind == CLAIM and name == claim)


class FromCluster:
    """Objects from an API server, by a `kubernetes.client.ApiClient`; time-out 10 s a call."""

    def __init__(
        self,
        api: ApiClient,
        *,
        inside_cluster: bool = False,
        namespace: str = "default",
        pod_namespace: str | None = None,
    ) -> None:
        """`namespace` is the context's, or the pod's: where a VM is that names none. `pod_namespace`: of this pod."""
        self.api = api
        self.pod_namespace = pod_namespace
        self.namespace = namespace
        self.inside_cluster = inside_cluster

    def claim(self, namespace: str, name: str) -> Document | None:
        return self._namespaced(namespace, "persistentvolumeclaims", name)

    def volume(self, name: str) -> Document | None:
        return self.get(f"/api/v1/persistentvolumes/{_segment(name)}")

    def secret(self, namespace: str, name: str) -> Document | None:
        return self._namespaced(namespace, "secrets", name)

    def service(self, namespace: str, name: str) -> Document | None:
        return self._namespaced(namespace, "services", name)

    def namespaces_of(self, claim: str) -> Sequence[str]:  # noqa: ARG002 (of the Protocol)
        """Unknown: a VM's owner may not list other namespaces."""
        return ()

    def _namespaced(self, namespace: str, resource: str, name: str) -> Document | None:
        return self.get(f"/api/v1/namespaces/{_segment(namespace)}/{resource}/{_segment(name)}")

    def get(self, path: str) -> Document | None:
        """The object at an API path, as plain JSON; None for 404. Raises ClusterError."""
        from urllib3.exceptions import HTTPError

        url = f"{self.api.configuration.host}{path}"
        headers = {"Accept": "application/json"}
        bearer = self.api.configuration.auth_settings().get("BearerToken")
        if bearer:
            headers["Authorization"] = bearer["value"]
        try:
            # The client's own calls build models of which nothing is needed here, and have changed between versions.
            pool = self.api.rest_client.pool_manager
            answer = pool.request("GET", url, headers=headers, timeout=TIMEOUT_S, retries=False)
        except HTTPError as error:
            raise ClusterError(f"GET {url}: no answer ({error}). Check that the API server is up.") from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            advice = "Ask for a Role that allows it" if answer.status == 403 else "Check the kubeconfig and its user"
            raise ClusterError(f"GET {url}: {answer.status} {answer.reason}. {advice}.")
        try:
            document = json.loads(answer.data)
        except ValueError as error:
            raise ClusterError(f"GET {url}: the answer is not JSON. Check that this is an API server.") from error
        if not isinstance(document, dict):
            raise ClusterError(f"GET {url}: the answer is no object. Check that this is an API server.")
        return document


def connect(kubeconfig: str | None = None, context: str | None = None) -> FromCluster:
    """From the pod's service account when there is one and no kubeconfig is named, else from the kubeconfig.

    Raises ClusterError.
    """
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
    except ModuleNotFoundError as error:
        raise ClusterError(
            "No PersistentVolume is in the files given, and asking a cluster takes Python's package kubernetes, which "
            "is not installed. Install it (it comes with lundock[libvirt]), or give the PV's manifest too."
        ) from error

    settings = Configuration()
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    pod_namespace = None
    source = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if inside and not kubeconfig and not context and (SERVICE_ACCOUNT / "token").exists():
            source = str(SERVICE_ACCOUNT)
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            namespace = pod_namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                kubeconfig, context, client_configuration=settings, persist_config=False
            )
            namespace = _context_namespace(kubeconfig, context)
    except (config.ConfigException, OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise ClusterError(
            f"Reading {source}: {error}. Name a kubeconfig with --kubeconfig, or give the PV's manifest too."
        ) from error
    api = ApiClient(settings)
    return FromCluster(api, inside_cluster=inside, namespace=namespace, pod_namespace=pod_namespace)


def _context_namespace(kubeconfig: str | None, name: str | None) -> str:
    """That of the context named, which needs no current one beside it."""
    from kubernetes.config import kube_config

    files = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    settings = kube_config.KubeConfigMerger(files).config  # type: ignore[no-untyped-call]
    context = settings["contexts"].get_with_name(name or settings["current-context"])["context"]
    return str(context.safe_get("namespace") or "default")


def _key(document: Document, namespace: str) -> tuple[str, str, str]:
    metadata, kind = part(document, "metadata"), str(document.get("kind"))
    place = "" if kind == VOLUME else str(metadata.get("namespace") or namespace)
    return kind, place, str(metadata.get("name"))


def _segment(name: str) -> str:
    return quote(name, safe="")
