"""`lundock-provisioner check`: whether everything is right before the provisioner can work."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import click

from lundock_common import tables
from lundock_common.kubernetes_api import CLASSES, Kube, OutcomeUnknown, Refused
from provisioner.commands.options import cluster_options, connect, load
from provisioner.errors import Permanent, SettingsError, Transient
from provisioner.kube.elector import election_namespace
from provisioner.observing.metrics import Metrics
from provisioner.planning.claims import read_class
from provisioner.planning.placement import candidates
from provisioner.settings import Settings, master_key
from provisioner.targets import Target, Targets

VERSION_PREFIX = 2
"""How many numbers of two versions must agree."""


@dataclass(frozen=True)
class Finding:
    """One row of `check`."""

    level: Literal["ok", "warning", "error"]
    what: str
    detail: str


@dataclass(frozen=True)
class Right:
    """One verb on one kind of resource; empty `namespace` and `name` mean every one."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


CLUSTER_RIGHTS: dict[tuple[str, str], str] = {
    ("", "persistentvolumes"): "get list watch create patch delete",
    ("", "persistentvolumeclaims"): "get list watch patch",
    ("", "persistentvolumeclaims/status"): "patch",
    ("", "events"): "create patch",
    ("", "secrets"): "create update delete",
    ("storage.k8s.io", "storageclasses"): "get list watch",
}


def rights(settings: Settings) -> list[Right]:
    """Everything the service account must be allowed, as in docs/reference/provisioner.md."""
    result: list[Right] = []
    for (group, resource), verbs in CLUSTER_RIGHTS.items():
        # Without the admission policy the chart keeps Secrets in one namespace, with a Role.
        namespace = settings.chap.secret_namespace if resource == "secrets" else ""
        result += [Right(group, resource, verb, namespace) for verb in verbs.split()]
    result.append(Right("", "namespaces", "get", name="kube-system"))
    if settings.leader_election.enabled:
        namespace, name = election_namespace(settings.leader_election), settings.leader_election.name
        lease = ("coordination.k8s.io", "leases")
        result.append(Right(*lease, "create", namespace))  # what is created has no name that could be checked
        result += [Right(*lease, verb, namespace, name) for verb in ("get", "update")]
    return result


def findings(kube: Kube, settings: Settings, targets: Targets, own_version: str) -> list[Finding]:
    """Everything that must be right before the provisioner can work."""
    found = list(_check_key(settings))
    try:
        version = kube.get("/version")["gitVersion"]
        found.append(Finding("ok", "API server", f"answers, Kubernetes {version}"))
        found += _check_rights(kube, settings)
        found += _check_classes(kube, settings)
    except (Refused, OutcomeUnknown) as error:
        found.append(Finding("error", "API server", str(error)))
    for target in targets.values():
        found += _check_target(target, own_version)
    return found


def _check_key(settings: Settings) -> Iterable[Finding]:
    try:
        key = master_key(settings)
    except SettingsError as error:
        yield Finding("error", "CHAP master key", str(error))
        return
    if key is None:
        yield Finding("warning", "CHAP master key", "none (chap.masterKeyFile): only classes with chap: off work")
    else:
        yield Finding("ok", "CHAP master key", "read")


def _check_rights(kube: Kube, settings: Settings) -> Iterable[Finding]:
    missing = []
    for right in rights(settings):
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "verb": right.verb,
            "namespace": right.namespace,
            "name": right.name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = kube.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        if not answer["status"].get("allowed"):
            missing.append(str(right))
    if missing:
        yield Finding("error", "rights", f"missing: {', '.join(missing)}; grant them (docs/reference/provisioner.md)")
    else:
        yield Finding("ok", "rights", "everything that is needed is allowed")


def _check_classes(kube: Kube, settings: Settings) -> Iterable[Finding]:
    ours = [item for item in kube.list(CLASSES)[0] if item["provisioner"] == settings.provisioner_name]
    if not ours:
        yield Finding("warning", "StorageClasses", f"none has the provisioner {settings.provisioner_name}")
    for item in ours:
        name = item["metadata"]["name"]
        try:
            policy = read_class(item)
            fitting = candidates(policy, "", settings.targets)
        except Permanent as error:
            yield Finding("error", f"StorageClass {name}", error.detail)
        else:
            yield Finding("ok", f"StorageClass {name}", f"on {', '.join(fitting)}")


def _check_target(target: Target, own_version: str) -> Iterable[Finding]:
    what = f"target {target.name}"
    try:
        able = target.capabilities()
        room = target.capacity()
    except (Permanent, Transient) as error:
        yield Finding("error", what, f"{error.detail} ({error.__cause__ or error.code})")
        return
    ours, theirs = (version.split(".")[:VERSION_PREFIX] for version in (own_version, able.version))
    level: Literal["ok", "warning"] = "ok" if ours == theirs else "warning"
    differ = "" if ours == theirs else f", while this is {own_version}: upgrade the older one"
    yield Finding(
        level, what, f"version {able.version}, engine {able.engine}, {room.available_bytes} bytes available{differ}"
    )


@click.command()
@cluster_options
def check(config: str, kubeconfig: str | None, context: str | None) -> None:
    """Say whether the provisioner can work: API server, rights, targets, classes, versions. Exit code 1 if not.

    \b
    Example:
      lundock-provisioner check --config provisioner.yaml --context prod
    """
    settings = load(config, text_logs=True)
    kube = connect(settings, kubeconfig, context)
    found = findings(kube, settings, Targets(settings, Metrics()), version("lundock"))
    rows = [(finding.level, finding.what, finding.detail) for finding in found]
    click.echo(tables.render(("level", "checked", "detail"), rows))
    sys.exit(1 if any(finding.level == "error" for finding in found) else 0)
