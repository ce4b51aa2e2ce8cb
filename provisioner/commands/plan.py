"""`lundock-provisioner plan`: what would be done with the claims of a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click
import yaml

from lundock_common import manifests
from lundock_common.command_line import filename_option
from lundock_common.kubernetes_api import CLASSES, Json, Kube, NotFound, claim_path, volume_path
from provisioner import identity
from provisioner.commands.options import cluster_options, connect, load
from provisioner.errors import Permanent, SettingsError
from provisioner.planning import plan as planning
from provisioner.planning import volumes
from provisioner.planning.claims import PROVISIONER_KEYS as PROVISIONER
from provisioner.planning.claims import ClaimRequest, name_of, notes_of, volume_id
from provisioner.planning.placement import candidates
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings
from target_image.api import fields, responses

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@click.command()
@cluster_options
@filename_option("Claims, and classes if you like.")
def plan(config: str, kubeconfig: str | None, context: str | None, filenames: tuple[str, ...]) -> None:
    """Print what would be done with the claims of a file, as YAML, and touch nothing.

    \b
    Example:
      lundock-provisioner plan -f claim.yaml
    """
    settings = load(config, text_logs=True)
    claims, classes = claims_and_classes(manifests.load(filenames), ", ".join(filenames))
    kube = connect(settings, kubeconfig, context)
    ours = identity.of(kube, settings)
    plans = [plan_claim(item, classes, looking_up(kube), settings, ours) for item in claims]
    click.echo(yaml.safe_dump_all(plans, sort_keys=False), nl=False)
    sys.exit(1 if any(item["step"] == "Refuse" for item in plans) else 0)


def claims_and_classes(documents: Sequence[Json], files: str) -> tuple[list[Json], list[Json]]:
    """The claims and the classes among these documents.

    Args:
        documents: of `files`.
        files: what the messages call them.

    Raises:
        SettingsError: there is no claim, or one that is not whole.
    """
    claims = [item for item in documents if item["kind"] == "PersistentVolumeClaim"]
    classes = [item for item in documents if item["kind"] == "StorageClass"]
    if not claims:
        raise SettingsError(f"{files} holds no PersistentVolumeClaim")
    for items, needed in ((claims, ("metadata", "spec")), (classes, ("metadata", "provisioner"))):
        for item in items:
            lacking = [name for name in needed if not item.get(name)]
            if lacking or not item["metadata"].get("name"):
                raise SettingsError(f"{files}: a {item['kind']} has no {lacking[0] if lacking else 'metadata.name'}")
    return claims, classes


def plan_claim(
    claim: Json, classes: Sequence[Json], look_up: Callable[[str], Json | None], settings: Settings, identity: Identity
) -> Json:
    """What would be done with a claim that is in a file, as data. `look_up` reads an object of the cluster."""
    meta = claim["metadata"]
    meta.setdefault("namespace", "default")
    there = look_up(claim_path(str(meta["namespace"]), str(meta["name"])))
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
    pv = look_up(volume_path(claim["spec"].get("volumeName") or volume_id(name.uid)))
    head = {"claim": str(name), "uid": name.uid}
    try:
        step = planning.plan_claim(name, claim, storage_class, pv, identity)
        if not isinstance(step, planning.Provision):
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
    secret = volumes.secret_of(request, settings.chap)
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
    """What reads one object; it gives None where there is none."""

    def look_up(path: str) -> Json | None:
        try:
            return kube.get(path)
        except NotFound:
            return None

    return look_up
