"""Where initiators reach a target: a host and a TCP port, as one text or as two values."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 3260
"""RFC 7143 section 13.4 (TargetAddress): the port IANA gave iSCSI."""


class BadPortal(ValueError):
    """Not a portal; the message says why."""


class BadPort(BadPortal):
    """Its port is no number between 1 and 65535."""

    def __init__(self, text: str, port: str) -> None:
        super().__init__(f"portal {text!r}: {port!r} is not a port from 1 to 65535")
        self.port = port


@dataclass(frozen=True)
class Portal:
    """One iSCSI portal. `host` is a name or an address; an IPv6 address is kept without brackets."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str, default_port: int = DEFAULT_PORT) -> Portal:
        """`host`, `host:port`, `[IPv6]`, `[IPv6]:port` or an IPv6 address.

        An IPv6 address without brackets has no port: "fe80::1:3260" is all address (RFC 3986 section 3.2.2 asks for
        brackets). Whether a host's name can exist is not looked at.

        Args:
            text: as a user or a PV writes it.
            default_port: of a portal that has none.

        Raises:
            BadPort: its port is not one.
            BadPortal: it is none of these forms.
        """
        if text.startswith("["):
            host, closed, rest = text[1:].partition("]")
            if not closed or not is_ipv6(host) or (rest and not rest.startswith(":")):
                raise BadPortal(f"portal {text!r} is not [IPv6 address]:port")
            port = rest[1:] if rest else None
        elif text.count(":") > 1:
            if not is_ipv6(text):
                raise BadPortal(f"portal {text!r} is neither host:port nor an IPv6 address")
            host, port = text, None
        else:
            host, colon, after = text.partition(":")
            port = after if colon else None
        if not host:
            raise BadPortal(f"portal {text!r} has no host name or address")
        return cls(host, default_port if port is None else _port(port, text))

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def short(self) -> str:
        """The same without iSCSI's own port, for a command that a person types."""
        return bracketed(self.host) if self.port == DEFAULT_PORT else str(self)


def bracketed(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def is_ipv6(host: str) -> bool:
    """Whether it is an IPv6 address, without brackets; it may have a zone (fe80::1%eth0)."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(port: str, text: str) -> int:
    """Port 0 would silently become 3260 in libvirt."""
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise BadPort(text, port)
    return int(port)
