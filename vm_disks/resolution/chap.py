"""CHAP credentials out of a Secret of type kubernetes.io/iscsi-chap. Pure.

The keys are kubelet's (k8s.io/kubernetes/pkg/volume/iscsi), which are open-iscsi's settings.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vm_disks.errors import CredentialsError
from vm_disks.objects import part

USERNAME = "node.session.auth.username"
PASSWORD = "node.session.auth.password"  # noqa: S105 (a key's name)
MUTUAL = ("node.session.auth.username_in", "node.session.auth.password_in")


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str = field(repr=False)


def read(secret: Mapping[str, Any] | None, name: str) -> Credentials:
    """The credentials in a Secret's data or stringData.

    Args:
        secret: None where there is none.
        name: namespace/name, for the message.

    Raises:
        CredentialsError: there is no such Secret, a key is missing, empty or unreadable, or it asks for mutual CHAP,
            which QEMU can't do.
    """
    if secret is None:
        raise CredentialsError(
            name, "there is none", "The PV names it for CHAP: create it, or wait for the provisioner"
        )
    for key in MUTUAL:
        if _value(secret, key, name):
            raise CredentialsError(
                name,
                f"it has {key}, so the target shall prove itself to the initiator too (mutual CHAP), "
                "and QEMU's iSCSI driver does one-way CHAP only",
                "Remove the key, or attach the claim through a kernel initiator",
            )
    username, password = _value(secret, USERNAME, name), _value(secret, PASSWORD, name)
    for key, value in ((USERNAME, username), (PASSWORD, password)):
        if not value:
            raise CredentialsError(name, f"it has no {key}", f"Add the key {key}")
    if not username.isprintable():
        raise CredentialsError(name, f"its {USERNAME} has a line end or control characters", "Write it again without")
    return Credentials(username, password)


def _value(secret: Mapping[str, Any], key: str, name: str) -> str:
    plain = part(secret, "stringData").get(key)
    if plain is not None:
        return str(plain)
    encoded = part(secret, "data").get(key)
    if encoded is None:
        return ""
    try:
        return base64.b64decode(str(encoded), validate=True).decode()
    except ValueError as error:  # of base64, and of UTF-8
        raise CredentialsError(name, f"its {key} is not base64 of UTF-8 text", "Write it again") from error
