"""Where claims, volumes and secrets are looked up: in manifests on disk, or in a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lundock_common import kubeconfig as kubeconfigs
from lundock_common.kubernetes_api import (
    Kube,
    NoApiServer,
    NoConfiguration,
    NotFound,
    OutcomeUnknown,
    Refused,
    claim_path,
    object_path,
    secret_path,
    volume_path,
)
from lundock_common.limits import Pace
from vm_disks.errors import ClusterError
from vm_disks.objects import Document, part
from vm_disks.resolution import binding, data_volumes

CLAIM = "PersistentVolumeClaim"
VOLUME = "PersistentVolume"
PACE = Pace(timeout_seconds=10)
"""A person waits for the answer."""


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
    """Objects from an API server."""

    def __init__(
        self,
        kube: Kube,
        *,
        inside_cluster: bool = False,
        namespace: str = "default",
        pod_namespace: str | None = None,
    ) -> None:
        """A lookup through an API server.

        Args:
            kube: the way to it.
            inside_cluster: whether the cluster's Service names resolve where the VM runs.
            namespace: the context's, or the pod's: where a VM is that names none.
            pod_namespace: of the pod whose service account this is; None for a kubeconfig.
        """
        self.kube = kube
        self.pod_namespace = pod_namespace
        self.namespace = namespace
        self.inside_cluster = inside_cluster

    def claim(self, namespace: str, name: str) -> Document | None:
        return self.get(claim_path(namespace, name))

    def volume(self, name: str) -> Document | None:
        return self.get(volume_path(name))

    def secret(self, namespace: str, name: str) -> Document | None:
        return self.get(secret_path(namespace, name))

    def service(self, namespace: str, name: str) -> Document | None:
        return self.get(object_path(namespace, "services", name))

    def namespaces_of(self, claim: str) -> Sequence[str]:  # noqa: ARG002 (of the Protocol)
        """Unknown: a VM's owner may not list other namespaces."""
        return ()

    def get(self, path: str) -> Document | None:
        """The object at an API path, as plain JSON; None for 404.

        Raises:
            ClusterError: it cannot be known.
        """
        try:
            return self.kube.get(path)
        except NotFound:
            return None
        except Refused as error:
            advice = "Ask for a Role that allows it" if error.status == 403 else "Check the kubeconfig and its user"
            raise ClusterError(f"GET {self.kube.host}{path}: {error.status} {error.reason}. {advice}.") from error
        except OutcomeUnknown as error:
            raise ClusterError(f"{error}. Check that the API server is up.") from error
        except NoApiServer as error:
            raise ClusterError(f"{error}. Check that {self.kube.host} is an API server.") from error


def connect(kubeconfig: str | None = None, context: str | None = None) -> FromCluster:
    """From the pod's service account when there is one and no kubeconfig is named, else from the kubeconfig.

    Raises:
        ClusterError: says what is wrong with the kubeconfig.
    """
    try:
        access = kubeconfigs.find(kubeconfig, context)
    except ModuleNotFoundError as error:
        raise ClusterError(
            "No PersistentVolume is in the files given, and asking a cluster takes Python's package kubernetes, which "
            "is not installed. Install it (it comes with lundock[libvirt]), or give the PV's manifest too."
        ) from error
    except NoConfiguration as error:
        raise ClusterError(f"{error} Or give the PV's manifest too.") from error
    return FromCluster(
        Kube(access.configuration, PACE, user_agent="vm-disks"),
        inside_cluster=kubeconfigs.in_cluster(),
        namespace=access.namespace,
        pod_namespace=access.pod_namespace,
    )


def _key(document: Document, namespace: str) -> tuple[str, str, str]:
    metadata, kind = part(document, "metadata"), str(document.get("kind"))
    place = "" if kind == VOLUME else str(metadata.get("namespace") or namespace)
    return kind, place, str(metadata.get("name"))
