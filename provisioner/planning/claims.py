"""PersistentVolumeClaim + StorageClass -> what is asked for, or why it cannot be had (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lundock_common import quantity
from lundock_common.names import is_dns_label
from provisioner.errors import Permanent
from provisioner.planning import parameters
from provisioner.planning.parameters import Parameters

Json = Mapping[str, Any]

PROVISIONER_KEYS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
"""Who shall provision a claim, written by kube-controller-manager; GA first."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
IMAGE = "lundock.io/image"
"""On a claim: a catalogue image's name, or URL#sha256:digest."""
TARGET = "lundock.io/target"
"""On a claim and a PV: which target. Noted on the claim before anything is made there."""
ROTATE = "lundock.io/rotate-chap"
"""On a claim: any new value asks for a new CHAP password."""

ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
MAX_SIZE_BYTES = 2**60

_IMAGE_URL = re.compile(r"^(https?://[^\s#]+)#(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")


@dataclass(frozen=True)
class ClaimName:
    """One claim, and not another one of the same name later."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Empty:
    """A volume of zeros."""


@dataclass(frozen=True)
class CatalogueImage:
    name: str


@dataclass(frozen=True)
class UrlImage:
    url: str
    digest: str


@dataclass(frozen=True)
class Clone:
    """Another claim of the same namespace."""

    claim: str
    allow_in_use: bool


Source = Empty | CatalogueImage | UrlImage | Clone


def source_label(source: Source) -> str:
    """The metrics' label `source`, as external-provisioner has it for a clone."""
    return {Empty: "", CatalogueImage: "Image", UrlImage: "ImageURL", Clone: "PersistentVolumeClaim"}[type(source)]


@dataclass(frozen=True)
class ClassPolicy:
    """A StorageClass, read."""

    name: str
    parameters: Parameters
    reclaim_policy: str
    mount_options: tuple[str, ...]
    allow_expansion: bool
    wait_for_consumer: bool


@dataclass(frozen=True)
class ClaimRequest:
    """What one claim asks for."""

    claim: ClaimName
    size_bytes: int
    access_modes: tuple[str, ...]
    volume_mode: str
    storage_class: ClassPolicy
    source: Source
    labels: Mapping[str, str]
    """What the PV must carry to satisfy the claim's selector."""
    target: str
    """The target noted on the claim, or empty."""
    generation: str
    """Which CHAP password its volume shall have."""

    @cached_property
    def volume_id(self) -> str:
        return volume_id(self.claim.uid)

    @cached_property
    def read_only(self) -> bool:
        return set(self.access_modes) == {"ReadOnlyMany"}


def volume_id(claim_uid: str) -> str:
    """The volume's, the export's and the PV's name."""
    return f"pvc-{claim_uid}"


def name_of(claim: Json) -> ClaimName:
    meta = claim["metadata"]
    return ClaimName(meta["namespace"], meta["name"], meta["uid"])


def notes_of(item: Json) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}


def chap_generation(claim: Json) -> str:
    """Which CHAP password a claim's volume shall have: another claim or another annotation, another password."""
    uid, asked = claim["metadata"]["uid"], notes_of(claim).get(ROTATE, "")
    return f"{uid}/{asked}" if asked else str(uid)


def provisioner_of(claim: Json) -> str:
    """Who is to provision the claim; empty while kube-controller-manager has not said."""
    notes = notes_of(claim)
    return next((notes[key] for key in PROVISIONER_KEYS if notes.get(key)), "")


def requested_bytes(claim: Json) -> int:
    """The size that the claim asks for.

    Raises:
        Permanent: BadSize: it cannot be read, is not more than 0, or is more than 1Ei.
    """
    text = str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", ""))
    try:
        size = quantity.parse(text)
    except ValueError as error:
        raise Permanent("BadSize", f"the claim's spec.resources.requests.storage: {error}.") from error
    if not 0 < size <= MAX_SIZE_BYTES:
        raise Permanent("BadSize", f"the claim asks for {text} of storage; it must be more than 0 and at most 1Ei.")
    return size


def read_class(storage_class: Json) -> ClassPolicy:
    """The class as it counts for new volumes.

    Raises:
        Permanent: UnknownParameter or BadParameter; TopologyNotSupported for a class with allowedTopologies.
    """
    name = storage_class["metadata"]["name"]
    if storage_class.get("allowedTopologies"):
        raise Permanent(
            "TopologyNotSupported",
            f"StorageClass {name} has allowedTopologies, but an iSCSI volume is reached over the network, from every "
            "node; create the class again without it, and choose the target with the parameter `target`.",
        )
    return ClassPolicy(
        name=name,
        parameters=parameters.read(name, storage_class.get("parameters") or {}),
        reclaim_policy=storage_class.get("reclaimPolicy") or "Delete",
        mount_options=tuple(storage_class.get("mountOptions") or ()),
        allow_expansion=bool(storage_class.get("allowVolumeExpansion")),
        wait_for_consumer=storage_class.get("volumeBindingMode") == "WaitForFirstConsumer",
    )


def foreign_source(claim: Json) -> str:
    """The dataSourceRef's kind where it belongs to a volume populator; empty otherwise."""
    source = claim["spec"].get("dataSourceRef") or {}
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not source or (group, kind) in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")):
        return ""
    return f"{kind}.{group}" if group else kind


def read_claim(claim: Json, storage_class: Json) -> ClaimRequest:
    """What the claim asks for.

    Raises:
        Permanent: claim or class ask for what cannot be had; each code comes with a sentence that says what to change.
    """
    policy = read_class(storage_class)
    if attributes := claim["spec"].get("volumeAttributesClassName"):
        # A PV binds to such a claim only if it names the class too, and there is nothing here that it could mean.
        raise Permanent(
            "BadVolumeAttributesClass",
            f"the claim's volumeAttributesClassName {attributes} is for CSI drivers; remove it, and choose by "
            "storageClassName.",
        )
    mode = claim["spec"].get("volumeMode") or "Filesystem"
    source = _source(claim, policy)
    return ClaimRequest(
        claim=name_of(claim),
        size_bytes=requested_bytes(claim),
        access_modes=_access_modes(claim, mode, source),
        volume_mode=mode,
        storage_class=policy,
        source=source,
        labels=_selector_labels(claim["spec"].get("selector") or {}),
        target=notes_of(claim).get(TARGET, ""),
        generation=chap_generation(claim),
    )


def _access_modes(claim: Json, volume_mode: str, source: Source) -> tuple[str, ...]:
    modes = tuple(claim["spec"].get("accessModes") or ())
    unknown = [mode for mode in modes if mode not in ACCESS_MODES]
    if unknown or not modes:
        raise Permanent(
            "BadAccessMode", f"the claim's access modes are {list(modes)}; possible are {', '.join(ACCESS_MODES)}."
        )
    if "ReadWriteMany" in modes and volume_mode != "Block":
        raise Permanent(
            "BadAccessMode",
            "ReadWriteMany needs volumeMode: Block, since two machines that mount one file system destroy it; "
            "ask for Block (as VMs do), or for ReadWriteOnce.",
        )
    if set(modes) == {"ReadOnlyMany"} and source == Empty():
        raise Permanent(
            "BadAccessMode",
            "ReadOnlyMany alone would be an empty disk that nobody can write; add ReadWriteOnce, or name what it "
            f"starts as (annotation {IMAGE}, or dataSource).",
        )
    return modes


def _source(claim: Json, policy: ClassPolicy) -> Source:
    spec = claim["spec"]
    reference = spec.get("dataSourceRef") or spec.get("dataSource")
    wanted = notes_of(claim).get(IMAGE, "")
    if reference:
        if wanted:
            raise Permanent("TwoSources", f"the claim has a dataSource and the annotation {IMAGE}; leave one of them.")
        return _clone(claim, reference, policy)
    if "://" in wanted:
        return _url_image(wanted, policy)
    name = wanted or policy.parameters.image
    if not name:
        return Empty()
    if not is_dns_label(name):
        raise Permanent(
            "BadImage",
            f"annotation {IMAGE}: {name!r} is neither an image's name (a-z, 0-9, '-') nor URL#sha256:<64 hex digits>.",
        )
    return CatalogueImage(name)


def _clone(claim: Json, reference: Json, policy: ClassPolicy) -> Clone:
    namespace = reference.get("namespace") or claim["metadata"]["namespace"]
    if reference.get("kind") != "PersistentVolumeClaim":
        raise Permanent(
            "BadDataSource",
            f"dataSource {reference.get('kind')}/{reference.get('name')} is not supported; a "
            "PersistentVolumeClaim of the same namespace is.",
        )
    if namespace != claim["metadata"]["namespace"]:
        raise Permanent(
            "BadDataSource",
            f"dataSourceRef names a claim of namespace {namespace}; only claims of "
            f"{claim['metadata']['namespace']} can be cloned here.",
        )
    return Clone(reference["name"], policy.parameters.clone_in_use)


def _url_image(wanted: str, policy: ClassPolicy) -> UrlImage:
    match = _IMAGE_URL.match(wanted)
    if not match:
        raise Permanent(
            "BadImage", f"annotation {IMAGE}: {wanted!r} must be URL#sha256:<64 hex digits> (or #sha512:<128>)."
        )
    if not policy.parameters.image_urls:
        raise Permanent(
            "ImageUrlNotAllowed",
            f"annotation {IMAGE} names a URL, which StorageClass {policy.name} does not allow; name an image of the "
            "catalogue, or use a class with the parameter imageUrls: allow.",
        )
    return UrlImage(match[1], match[2])


def _selector_labels(selector: Json) -> dict[str, str]:
    """Labels that satisfy the selector.

    Raises:
        Permanent: SelectorNotSatisfiable: its terms contradict each other.
    """
    labels = dict(selector.get("matchLabels") or {})
    terms = selector.get("matchExpressions") or []
    for key in dict.fromkeys(term["key"] for term in terms):
        own = [(term["operator"], tuple(term.get("values") or ())) for term in terms if term["key"] == key]
        allowed = [values for operator, values in own if operator == "In"]
        refused = [value for operator, values in own if operator == "NotIn" for value in values]
        wanted = bool(allowed) or key in labels or any(operator == "Exists" for operator, _ in own)
        choices = [labels[key]] if key in labels else [*(allowed[0] if allowed else ("", "any"))]
        possible = [v for v in choices if wanted and v not in refused and all(v in values for values in allowed)]
        if wanted and (not possible or any(operator == "DoesNotExist" for operator, _ in own)):
            raise Permanent(
                "SelectorNotSatisfiable",
                f"no volume can satisfy the claim's selector: its terms about the label {key} contradict each other; "
                "correct or remove spec.selector.",
            )
        if possible:
            labels[key] = possible[0]
    return labels
