"""Where a LUN is: the value object that a claim resolves to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from lundock_common.portal import BadPortal, Portal


@dataclass(frozen=True)
class ChapReference:
    """Where the CHAP credentials are: a Secret of type kubernetes.io/iscsi-chap. Never the password."""

    namespace: str
    secret: str
    username: str
    """Part of the domain's XML; the password is not, and is read only when a VM starts."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.secret}"


@dataclass(frozen=True)
class LunAddress:
    """A LUN as QEMU needs it. `portals[0]` is the PV's targetPortal; the others are further paths."""

    portals: tuple[Portal, ...]
    iqn: str
    lun: int
    read_only: bool = False
    initiator_name: str | None = None
    chap: ChapReference | None = None


_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63})*\.?)?")


def parse_portal(text: str) -> Portal:
    """A PV's targetPortal: host, host:port, IPv4[:port], IPv6 bare, [IPv6] or [IPv6]:port.

    Raises:
        BadPortal: it is none of these, or its host can't be one.
    """
    text = text.strip()
    portal = Portal.parse(text)
    host = portal.host
    if ":" in host:
        if "%" in host:  # an interface of the host that wrote it, which is another machine
            raise BadPortal(f"portal {text!r} has the zone of one host's interface")
        return portal
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise BadPortal(f"portal {text!r} has no host name or address")
    if re.fullmatch(r"[0-9.]+", host) and not _is_ipv4(host):
        raise BadPortal(f"portal {text!r}: {host} is not an IPv4 address")
    return portal


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
