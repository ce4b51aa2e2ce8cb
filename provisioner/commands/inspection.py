"""What the commands `check`, `plan` and `sweep` do: they look, and (but for `sweep --remove`) touch nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from provisioner.errors import NotFound, OutcomeUnknown, Permanent, ProvisionerError, Refused, SettingsError, Transient
from provisioner.kube.client import CLASSES, Json, Kube, volume_path
from provisioner.kube.elector import election_namespace
from provisioner.planning import plan, volumes
from provisioner.planning.claims import PROVISIONER_KEYS as PROVISIONER
from provisioner.planning.claims import ClaimRequest, name_of, notes_of, read_class
from provisioner.planning.placement import candidates
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings, master_key
from provisioner.targets import Target, Targets
from target_image.api import fields, responses

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

VERSION_PREFIX = 2
"""How many numbers of two versions must agree."""


@dataclass(frozen=True)
class Finding:
    """One line of `check`."""

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


def check(kube: Kube, settings: Settings, targets: Targets, own_version: str) -> list[Finding]:
    """Everything that must be right before the provisioner can work."""
    findings = list(_check_key(settings))
    try:
        version = kube.get("/version")["gitVersion"]
        findings.append(Finding("ok", "API server", f"answers, Kubernetes {version}"))
        findings += _check_rights(kube, settings)
        findings += _check_classes(kube, settings)
    except (Refused, OutcomeUnknown) as error:
        findings.append(Finding("error", "API server", str(error)))
    for target in targets.values():
        findings += _check_target(target, own_version)
    return findings


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
        able = target.call("ask what it can do", lambda client: client.capabilities())
        room = target.call("ask for free space", lambda client: client.capacity())
    except (Permanent, Transient) as error:
        yield Finding("error", what, f"{error.detail} ({error.__cause__ or error.code})")
        return
    ours, theirs = (version.split(".")[:VERSION_PREFIX] for version in (own_version, able.version))
    level: Literal["ok", "warning"] = "ok" if ours == theirs else "warning"
    differ = "" if ours == theirs else f", while this is {own_version}: upgrade the older one"
    yield Finding(
        level, what, f"version {able.version}, engine {able.engine}, {room.available_bytes} bytes available{differ}"
    )


# -- plan ------------------------------------------------------------------------------------------------


def read_documents(file: Path) -> tuple[list[Json], list[Json]]:
    """The claims and the classes in a YAML file. Raises SettingsError."""
    try:
        documents = [item for item in yaml.safe_load_all(file.read_text(encoding="utf-8")) if isinstance(item, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read {file}: {error}") from error
    claims = [item for item in documents if item.get("kind") == "PersistentVolumeClaim"]
    if not claims:
        raise SettingsError(f"{file} holds no PersistentVolumeClaim")
    for kind, needed in (
        ("PersistentVolumeClaim", ("metadata", "spec")),
        ("StorageClass", ("metadata", "provisioner")),
    ):
        for item in (item for item in documents if item.get("kind") == kind):
            lacking = [name for name in needed if not item.get(name)]
            if lacking or not isinstance(item["metadata"], dict) or not item["metadata"].get("name"):
                raise SettingsError(f"{file}: a {kind} has no {lacking[0] if lacking else 'metadata.name'}")
    return claims, [item for item in documents if item.get("kind") == "StorageClass"]


def plan_claim(
    claim: Json, classes: Sequence[Json], look_up: Callable[[str], Json | None], settings: Settings, identity: Identity
) -> Json:
    """What would be done with a claim that is in a file, as data. `look_up` reads an object of the cluster."""
    meta = claim["metadata"]
    meta.setdefault("namespace", "default")
    there = look_up(f"/api/v1/namespaces/{meta['namespace']}/persistentvolumeclaims/{meta.get('name')}")
    if there is not None:
        meta["uid"] = there["metadata"]["uid"]
        claim["spec"].setdefault("volumeName", there["spec"].get("volumeName"))
        claim["status"] = there.get("status")
    meta.setdefault("uid", "00000000-0000-0000-0000-000000000000")
    storage_class = _class_of(claim, classes, look_up)
    if storage_class is not None and not any(key in notes_of(claim) for key in PROVISIONER):
        # kube-controller-manager would write this.
        meta["annotations"] = {**notes_of(claim), PROVISIONER[0]: storage_class["provisioner"]}
    name = name_of(claim)
    pv = look_up(volume_path(claim["spec"].get("volumeName") or f"pvc-{name.uid}"))
    head = {"claim": str(name), "uid": name.uid}
    try:
        step = plan.plan_claim(name, claim, storage_class, pv, identity)
        if not isinstance(step, plan.Provision):
            return head | {"step": type(step).__name__, **{"why": getattr(step, "why", str(step))}}
        return head | {"step": "Provision"} | _provisioning(step.request, settings, identity)
    except Permanent as error:
        return head | {"step": "Refuse", "code": error.code, "why": error.detail}


def _class_of(claim: Json, classes: Sequence[Json], look_up: Callable[[str], Json | None]) -> Json | None:
    """Its class; the default one where it names none, as the API server would fill in (and "" means none at all)."""
    name = claim["spec"].get("storageClassName")
    if name is None:
        every = [*classes, *((look_up(CLASSES) or {}).get("items") or [])]
        defaults = [item for item in every if notes_of(item).get(DEFAULT_CLASS) == "true"]
        # Of several the API server takes the newest; those of the file would be newer still.
        newest = max(defaults, key=lambda item: item["metadata"].get("creationTimestamp") or "9", default=None)
        claim["spec"]["storageClassName"] = newest["metadata"]["name"] if newest else ""
        return newest
    there = next((item for item in classes if item["metadata"]["name"] == name), None)
    return there or (look_up(f"{CLASSES}/{name}") if name else None)


def _provisioning(request: ClaimRequest, settings: Settings, identity: Identity) -> Json:
    """The volume, the export and the PV, with what only the target knows left open."""
    allowed = candidates(request.storage_class, request.target, settings.targets)
    target = next(item for item in settings.targets if item.name == allowed[0])
    chap = request.storage_class.parameters.chap
    namespace = request.storage_class.parameters.chap_secret_namespace or settings.chap.secret_namespace
    secret = volumes.secret_name(request.volume_id, namespace or request.claim.namespace)
    export = responses.Export(
        id=request.volume_id,
        iqn=volumes.iqn(identity, request.volume_id),
        luns=[],
        access=responses.Access(),
        chap=None,
        owner=None,
        shard=0,
        portals=["0.0.0.0:3260"],
        phase=fields.Phase.READY,
    )
    spec = volumes.export_spec(request, identity, None).model_dump(mode="json", exclude={"chap", "owner"})
    return {
        "targets": allowed,
        "source": repr(request.source),
        "volume": {
            "id": request.volume_id,
            "size_bytes": request.size_bytes,
            "thin": request.storage_class.parameters.thin,
        },
        "export": {**spec, "chap": chap},
        "secret": None if chap == "off" else f"{secret.namespace}/{secret.name}",
        "persistentVolume": volumes.persistent_volume(
            request, identity, target, export, request.size_bytes, None if chap == "off" else secret
        ),
    }


def looking_up(kube: Kube) -> Callable[[str], Json | None]:
    """Reads one object, None where it is not there."""

    def look_up(path: str) -> Json | None:
        try:
            return kube.get(path)
        except NotFound:
            return None
        except ProvisionerError as error:
            raise SettingsError(f"cannot look into the cluster: {error}") from error

    return look_up
