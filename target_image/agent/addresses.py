"""Addresses to listen on, and the ones that others reach them by."""

from __future__ import annotations

import socket

CONNECT_TIMEOUT_S = 2.0


def join(address: str, port: int) -> str:
    """host:port, IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def usable(address: str) -> bool:
    """Whether the machine can bind the address: "::" is a wish where there is no IPv6."""
    if ":" not in address:
        return True
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def own(address: str) -> list[str]:
    """The address itself, or for a wildcard the one that the machine would use towards others."""
    if address not in ("0.0.0.0", "::"):  # noqa: S104
        return [address]
    # A connected UDP socket sends nothing: it only asks the routing table. The addresses are documentation's.
    family, towards = (socket.AF_INET, "192.0.2.1") if address != "::" else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return [str(probe.getsockname()[0])]
    except OSError:
        return ["127.0.0.1"] if family == socket.AF_INET else []


def accepts_connections(portal: str) -> bool:
    """Whether a TCP connection to a host:port, as `join` writes it, succeeds; to a wildcard's, by loopback."""
    host, _, port = portal.rpartition(":")
    reachable = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    try:
        with socket.create_connection((reachable, int(port)), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
