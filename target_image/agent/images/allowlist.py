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
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""The well-known prefix (RFC 6052) and the one for local use (RFC 8215); only the first tells the IPv4 address."""


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
        """The list that these entries make; one with a slash is a network.

        Raises:
            ValueError: an entry with a slash is no network.
        """
        hosts, networks = set(), []
        for entry in entries:
            if "/" in entry:
                networks.append(ip_network(entry))
            else:
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def check_url(self, url: str) -> None:
        """Refuse a URL that may not be fetched.

        Raises:
            Refused: it is no http(s) URL, has credentials, or its host is not in the list.
        """
        host = str(_checked(url).hostname).rstrip(".")
        if not self._names(host):
            raise Refused(f"{host} is not among the hosts that images may come from (--image-hosts)")

    def check_address(self, host: str, address: Address) -> None:
        """Refuse an address that may not be connected to.

        Args:
            host: the host of the URL, for the message.
            address: what the host resolved to.

        Raises:
            Refused: it is link-local, multicast or unspecified; or it is not public and in no network of the list.
        """
        plain = _plain(address)
        if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
            raise Refused(f"{host} leads to {plain}, which no image may come from")
        public = plain.is_global and not plain.is_reserved
        if not public and not any(plain in network for network in self.networks):
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
        """Refuse what is no URL of an image.

        Raises:
            Refused: it is no http(s) URL, or has credentials.
        """
        _checked(url)

    def check_address(self, host: str, address: Address) -> None:
        """Any address will do."""


Policy = AllowList | Everywhere


def shown(url: str) -> str:
    """The URL as it may be told to anyone: without credentials and without a query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "a URL that cannot be read"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError as error:
        raise Refused(f"an image's URL cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not (parts.hostname or "").rstrip("."):
        raise Refused(f"{shown(url)} is not an http or https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise Refused(f"the URL at {parts.hostname} carries credentials, which would be shown to whoever asks")
    return parts


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64[0]:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in NAT64[1]:
        return IPv6Address("::")  # where in it the IPv4 address lies is the network's secret: refused
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def resolve(host: str, port: int) -> list[Address]:
    """The host's addresses, in the order of getaddrinfo(3).

    Raises:
        OSError: the host cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


Resolver = Callable[[str, int], list[Address]]
