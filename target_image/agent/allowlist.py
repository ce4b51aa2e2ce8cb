"""Where a URL that somebody else gave may lead: a guard against requests into the cluster or the cloud.

Host names are held to a list, and every address that a name resolves to is looked at before a connection is
made to exactly that address; redirects go the same way. So neither a name that changes its address between
check and use (DNS rebinding) nor a redirect reaches what the list does not name.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Refused(Exception):
    """The URL leads where it may not."""


@dataclass(frozen=True)
class AllowList:
    """Host names (`images.example.org`, `*.example.org`) and networks (`10.1.0.0/16`).

    An address that is not public (RFC 6890) is refused unless one of the networks contains it; a link-local
    one, where clouds keep their metadata, is refused always.
    """

    hosts: frozenset[str]
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> AllowList:
        """Raises ValueError for an entry that is neither a host name nor a network."""
        hosts, networks = set(), []
        for entry in entries:
            if "/" in entry:
                networks.append(ip_network(entry))
            else:
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def check_url(self, url: str) -> None:
        """Raises Refused unless the URL is http(s), without credentials, at a host of the list."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in ("http", "https") or not host:
            raise Refused(f"{url} is not an http or https URL with a host")
        if parts.username is not None or parts.password is not None:
            raise Refused(f"the URL at {host} carries credentials")
        if not self._names(host):
            raise Refused(f"{host} is not among the hosts that images may come from (--image-hosts)")

    def check_address(self, host: str, address: Address) -> None:
        """Raises Refused unless a connection to this address, which the host resolved to, is allowed."""
        plain = getattr(address, "ipv4_mapped", None) or address
        if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
            raise Refused(f"{host} leads to {plain}, which no image may come from")
        if not plain.is_global and not any(plain in network for network in self.networks):
            raise Refused(
                f"{host} leads to {plain}, which is not a public address; "
                "if it is meant, name its network in --image-hosts"
            )

    def _names(self, host: str) -> bool:
        if host in self.hosts:
            return True
        if any(entry.startswith("*.") and host.endswith(entry[1:]) for entry in self.hosts):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.networks)


@dataclass(frozen=True)
class Everywhere:
    """For URLs that the operator wrote: the catalogue's and those of the environment."""

    def check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"{url} is not an http or https URL with a host")

    def check_address(self, host: str, address: Address) -> None:
        """Any address will do."""


Policy = AllowList | Everywhere


def resolve(host: str, port: int) -> list[Address]:
    """The host's addresses, in the order of getaddrinfo(3). Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


Resolver = Callable[[str, int], list[Address]]
