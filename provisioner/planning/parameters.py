"""A StorageClass's parameters, checked at use (pure)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lundock_common.names import is_dns_label, is_iqn
from lundock_common.portal import BadPort, BadPortal, Portal
from provisioner.errors import Permanent

FILE_SYSTEMS = ("ext4", "ext3", "ext2", "xfs", "btrfs")
"""What kubelet can make and mount on Debian-like nodes; the API takes any string."""

HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")

FILE_SYSTEM_ALIASES = ("csi.storage.k8s.io/fstype", "fstype")
"""What CSI drivers and older in-tree classes call fsType."""


@dataclass(frozen=True)
class Parameters:
    """What a class asks for, beyond Kubernetes' own fields. Each field is the parameter of its name."""

    target: str = ""
    """A target's name; empty for any."""
    target_labels: Mapping[str, str] = field(default_factory=dict)
    fs_type: str = "ext4"
    chap: Literal["on", "off", "mutual"] = "on"
    initiators: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    portal: str = ""
    """host or host:port for the PV instead of the target's; IPv6 in brackets."""
    thin: bool = True
    image: str = ""
    image_urls: bool = False
    clone_in_use: bool = False
    chap_secret_namespace: str = ""


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", value) if word)


def _choice(*values: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return value

    return check


def _flag(yes: str, no: str) -> Callable[[str], bool]:
    return lambda value: _choice(yes, no)(value) == yes


def _target(value: str) -> dict[str, Any]:
    if "=" not in value:
        if not is_dns_label(value):
            raise ValueError("must be a target's name, or labels such as zone=a,disk=ssd")
        return {"target": value}
    labels: dict[str, str] = {}
    for word in _words(value):
        name, separator, content = word.partition("=")
        if not separator or not name:
            raise ValueError("must be a target's name, or labels such as zone=a,disk=ssd")
        labels[name] = content
    return {"target_labels": labels}


def _initiators(value: str) -> tuple[str, ...]:
    names = _words(value)
    for name in names:
        if not is_iqn(name):
            raise ValueError(f"{name!r} is not an iSCSI name such as iqn.1993-08.org.debian:01:abc")
    return names


def _networks(value: str) -> tuple[str, ...]:
    return tuple(str(_network(word)) for word in _words(value))


def _network(word: str) -> str:
    try:
        network = ipaddress.ip_network(word)
    except ValueError as error:
        raise ValueError(f"{word!r} is not an address or a network such as 10.0.0.0/8: {error}") from None
    return word if "/" not in word else str(network)


def _portal(value: str) -> str:
    if value.count(":") > 1 and not value.startswith("["):
        raise ValueError("must have its IPv6 address in brackets, such as [fd00::1]:3260")
    try:
        host = Portal.parse(value).host
    except BadPort as error:
        raise ValueError(f"has the port {error.port!r}, which is not between 1 and 65535") from None
    except BadPortal:
        raise ValueError("must be host, host:port or [IPv6]:port") from None
    if ":" not in host and not HOST.match(host):
        raise ValueError("must be host, host:port or [IPv6]:port")
    return value


def _name(value: str) -> str:
    if not is_dns_label(value):
        raise ValueError("must be at most 63 of a-z, 0-9 and '-'")
    return value


def _only(field_name: str, check: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    return lambda value: {field_name: check(value)}


KNOWN: dict[str, Callable[[str], dict[str, Any]]] = {
    "target": _target,
    "fsType": _only("fs_type", _choice(*FILE_SYSTEMS)),
    "chap": _only("chap", _choice("on", "off", "mutual")),
    "initiators": _only("initiators", _initiators),
    "networks": _only("networks", _networks),
    "portal": _only("portal", _portal),
    "thin": _only("thin", _flag("true", "false")),
    "image": _only("image", _name),
    "imageUrls": _only("image_urls", _flag("allow", "deny")),
    "cloneInUse": _only("clone_in_use", _flag("true", "false")),
    "chapSecretNamespace": _only("chap_secret_namespace", _name),
}
"""Every parameter and how its value is read."""


def read(storage_class: str, parameters: Mapping[str, str]) -> Parameters:
    """The parameters of a class.

    Raises:
        Permanent: UnknownParameter: one of them is unknown; BadParameter: the value of one is not allowed.
    """
    fields: dict[str, Any] = {}
    for name, value in parameters.items():
        known = "fsType" if name in FILE_SYSTEM_ALIASES else name
        check = KNOWN.get(known)
        if check is None:
            raise Permanent(
                "UnknownParameter",
                f"StorageClass {storage_class} has the parameter {name!r}, which nobody here knows; "
                f"known are {', '.join(KNOWN)}. Classes cannot be changed: delete it and create it again without.",
            )
        try:
            fields |= check(value)
        except ValueError as error:
            raise Permanent(
                "BadParameter",
                f"StorageClass {storage_class}: parameter {name} {error}, not {value!r}. "
                "Classes cannot be changed: delete it and create it again corrected.",
            ) from error
    return Parameters(**fields)
