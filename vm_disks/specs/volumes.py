"""spec.volumes: name -> what the disk's bytes come from."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Literal

from lundock_common import quantity
from vm_disks.model import ClaimSource, CloudInitSource, EmptyDiskSource, Source
from vm_disks.specs.node import Node

NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
LABEL_RULE = "is not a name of at most 63 lower-case letters, digits and '-'"
"""What KubeVirt asks of disks and volumes; libvirt drops an alias with anything else in silence."""
NAME_RULE = "is not a Kubernetes name (lower-case letters, digits, '-' and '.')"


def _claim(node: Node) -> Source:
    return ClaimSource(
        node["claimName"].required(NAME, NAME_RULE),
        read_only=node["readOnly"].flag(),
        hotpluggable=node["hotpluggable"].flag(),
    )


def _data_volume(node: Node) -> Source:
    return ClaimSource(
        node["name"].required(NAME, NAME_RULE), hotpluggable=node["hotpluggable"].flag(), data_volume=True
    )


def _ephemeral(node: Node) -> Source:
    claim = node["persistentVolumeClaim"]
    return ClaimSource(claim["claimName"].required(NAME, NAME_RULE), overlay=True)


def _empty_disk(node: Node) -> Source:
    return EmptyDiskSource(quantity_of(node["capacity"], required=True) or 0)


def _cloud_init(kind: Literal["NoCloud", "ConfigDrive"]) -> Callable[[Node], Source]:
    def read(node: Node) -> Source:
        user = _one_of(node, "userData", "userDataBase64", "secretRef")
        network = _one_of(node, "networkData", "networkDataBase64", "networkDataSecretRef")
        if user is None and network is None:
            node.fault("has neither userData nor networkData")
        return CloudInitSource(
            kind,
            user_data=_data(node, "userData"),
            network_data=_data(node, "networkData"),
            user_data_secret=_secret(node["secretRef"]),
            network_data_secret=_secret(node["networkDataSecretRef"]),
        )

    return read


SOURCES: dict[str, Callable[[Node], Source]] = {
    "persistentVolumeClaim": _claim,
    "dataVolume": _data_volume,
    "ephemeral": _ephemeral,
    "emptyDisk": _empty_disk,
    "cloudInitNoCloud": _cloud_init("NoCloud"),
    "cloudInitConfigDrive": _cloud_init("ConfigDrive"),
}


def read(volumes: Node) -> dict[str, tuple[Node, Source | None]]:
    """Volumes by name. None: a kind that is not supported, or a faulty one; the fault is reported."""
    found: dict[str, tuple[Node, Source | None]] = {}
    for volume in volumes.items():
        name = volume["name"].required(LABEL, LABEL_RULE)
        if name in found:
            volume["name"].fault(f"another volume is named {name!r}")
        kinds = [str(key) for key, value in volume.mapping().items() if key != "name" and value is not None]
        if len(kinds) != 1:
            volume.fault(f"must have one source, not {len(kinds)}" + (f": {', '.join(kinds)}" if kinds else ""))
        kind = kinds[0] if len(kinds) == 1 else ""
        found[name] = (volume, SOURCES[kind](volume[kind]) if kind in SOURCES else None)
    return found


def quantity_of(node: Node, *, required: bool = False) -> int | None:
    """A quantity, 1 or more, rounded up; a number without a unit may be written without quotes."""
    if node.value is None:
        if required:
            node.fault("is missing")
        return None
    number = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    text = str(node.value) if number else node.text()
    if text is None:
        return None
    try:
        value = quantity.parse(text)
    except ValueError as error:
        node.fault(str(error))
        return None
    if not 0 < value < 2**63:
        node.fault(f"{text} is not between 1 and 8Ei")
        return None
    return value


def _one_of(node: Node, *names: str) -> str | None:
    given = [name for name in names if node[name]]
    if len(given) > 1:
        node.fault(f"has {' and '.join(given)}; give one")
    return given[0] if given else None


def _secret(node: Node) -> str | None:
    return node["name"].required(NAME, NAME_RULE) if node else None


def _data(node: Node, name: str) -> bytes:
    encoded = node[f"{name}Base64"]
    if not encoded:
        return (node[name].text() or "").encode()
    try:
        return base64.b64decode(encoded.text() or "", validate=True)
    except ValueError:
        encoded.fault("is not base64")
        return b""
