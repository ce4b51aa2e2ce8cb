"""Addresses to listen on, and the ones that others reach them by."""

from __future__ import annotations

import socket

from lundock_common.portal import Portal

CONNECT_TIMEOUT_S = 2.0


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


def accepts_connections(portal: Portal) -> bool:
    """Whether a TCP connection to it succeeds; to a wildcard's, by loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(portal.host, portal.host)  # noqa: S104
    try:
        with socket.create_connection((reachable, portal.port), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
