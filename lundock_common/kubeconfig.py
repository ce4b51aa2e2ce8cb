"""Which API server is meant: the one of a kubeconfig, or of the pod that this runs in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lundock_common.kubernetes_api import NoConfiguration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Access:
    """The way to one API server."""

    configuration: Any
    """A kubernetes.client.Configuration, for kubernetes_api.Kube."""

    namespace: str
    """The context's, or the pod's: where an object is that names none."""

    pod_namespace: str | None
    """Of the pod whose service account this is; None for a kubeconfig."""


def find(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """A kubeconfig where one is named, or a context of it; else the pod's service account; else as kubectl finds one.

    Args:
        kubeconfig: a file, instead of those in $KUBECONFIG or ~/.kube/config.
        context: instead of the current one.

    Raises:
        NoConfiguration: names the file, what is wrong with it and what to do.
        ModuleNotFoundError: the package kubernetes is not installed.
    """
    from kubernetes import config
    from kubernetes.client import Configuration
    from yaml import YAMLError

    settings = Configuration()
    pod_namespace = None
    source = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if not kubeconfig and not context and in_pod():
            source = str(SERVICE_ACCOUNT)
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            namespace = pod_namespace = namespace_of_pod()
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                kubeconfig, context, client_configuration=settings, persist_config=False
            )
            namespace = _context_namespace(kubeconfig, context)
    except (config.ConfigException, OSError, ValueError, TypeError, YAMLError) as error:
        raise NoConfiguration(f"Reading {source}: {error}. Name a kubeconfig with --kubeconfig.") from error
    return Access(settings, namespace, pod_namespace)


def in_cluster() -> bool:
    """Whether this is a container of a cluster, where the names of its Services resolve."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def in_pod() -> bool:
    """Whether this is a pod that has a service account's token."""
    return in_cluster() and (SERVICE_ACCOUNT / "token").exists()


def namespace_of_pod() -> str:
    """The namespace of the pod's service account.

    Raises:
        OSError: there is none.
    """
    return (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()


def _context_namespace(kubeconfig: str | None, name: str | None) -> str:
    """The namespace of the named context; a kubeconfig need not have a current one then."""
    from kubernetes.config import kube_config

    files = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    settings = kube_config.KubeConfigMerger(files).config  # type: ignore[no-untyped-call]
    context = settings["contexts"].get_with_name(name or settings["current-context"])["context"]
    return str(context.safe_get("namespace") or "default")
