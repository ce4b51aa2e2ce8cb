"""Where a LUN is: the value object that a claim resolves to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 3260
"""RFC 7143 section 13.4 (TargetAddress): the port IANA gave iSCSI."""


@dataclass(frozen=True)
class Portal:
    """One iSCSI portal. `host` is a name or an address; an IPv6 address is kept without brackets."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


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


class BadPortal(ValueError):
    """Not a portal; the message says why."""


_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63})*\.?)?")


def parse_portal(text: str) -> Portal:
    """A PV's targetPortal: host, host:port, IPv4[:port], IPv6 bare, [IPv6] or [IPv6]:port.

    A bare IPv6 address has no port: "fe80::1:3260" is all address (RFC 3986 section 3.2.2 asks for brackets).

    Raises:
        BadPortal: it is none of these.
    """
    text = text.strip()
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise BadPortal(f"portal {text!r} is not [IPv6 address]:port")
        return Portal(host, _port(rest[1:], text) if rest else DEFAULT_PORT)
    if text.count(":") > 1:
        if not _is_ipv6(text):
            raise BadPortal(f"portal {text!r} is neither host:port nor an IPv6 address")
        return Portal(text)
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise BadPortal(f"portal {text!r} has no host name or address")
    if re.fullmatch(r"[0-9.]+", host) and not _is_ipv4(host):
        raise BadPortal(f"portal {text!r}: {host} is not an IPv4 address")
    return Portal(host, _port(port, text) if colon else DEFAULT_PORT)


def _port(text: str, portal: str) -> int:
    """Port 0 would silently become 3260 in libvirt."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise BadPortal(f"portal {portal!r}: {text!r} is not a port from 1 to 65535")
    return int(text)


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    """A zone (fe80::1%eth0) is another machine's affair: it names an interface of the host that wrote it."""
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False
