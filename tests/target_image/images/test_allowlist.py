"""Where a URL may lead."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from target_image.agent.images.allowlist import AllowList, Refused, shown

LIST = AllowList.parse(["images.example.org", "*.cloud.example.net", "10.1.0.0/16"])


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.org/a.img",
        "https://IMAGES.example.org:8443/a.img",
        "https://images.example.org./a.img",
        "http://x.cloud.example.net/a",
        "http://10.1.2.3/a",
    ],
)
def test_allowed(url: str) -> None:
    LIST.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.img",
        "https://notimages.example.org/",
        "https://images.example.org.evil.net/",
        "https://cloud.example.net/",
        "http://10.2.0.1/a",
        "http://[::1]/a",
        "ftp://images.example.org/a",
        "file:///etc/passwd",
        "https:///nothing",
        "https://images.example.org@evil.net/",
        "http://kubernetes.default.svc/api",
        "http://[::1/a",
        "http://images.example.org:port/a",
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(Refused):
        LIST.check_url(url)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "10.1.255.1"])
def test_addresses_that_are_public_or_named(address: str) -> None:
    LIST.check_address("images.example.org", ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "10.2.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "127.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "224.0.0.1",
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    with pytest.raises(Refused, match=address):
        LIST.check_address("images.example.org", ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.2.0.1",
        "64:ff9b:1::a02:1",
        "2002:a9fe:a9fe::1",
        "2002:0a02:0001::1",
        "2001:0:1.1.1.1:0:0:f5fd:fffe",
        "::10.2.0.1",
    ],
)
def test_an_ipv4_address_inside_an_ipv6_one_is_looked_at(address: str) -> None:
    """A gateway would lead there (NAT64, 6to4, Teredo, mapped and compatible addresses)."""
    text = address.replace(":1.1.1.1:", ":101:101:")
    with pytest.raises(Refused):
        LIST.check_address("images.example.org", ip_address(text))


def test_nat64_of_a_public_address_is_public() -> None:
    LIST.check_address("images.example.org", ip_address("64:ff9b::1.1.1.1"))
    LIST.check_address("images.example.org", ip_address("64:ff9b::10.1.2.3"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:pass@x.org:8443/a.img?token=t#f", "https://x.org:8443/a.img"),
        ("http://[::1]/a", "http://[::1]/a"),
        ("http://[::1", "a URL that cannot be read"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, told: str) -> None:
    assert shown(url) == told


def test_link_local_stays_refused_whatever_is_named() -> None:
    named = AllowList.parse(["169.254.0.0/16", "fe80::/10"])
    for address in ("169.254.169.254", "fe80::1"):
        with pytest.raises(Refused):
            named.check_address("x", ip_address(address))


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(Refused, match="--image-hosts"):
        AllowList.parse([]).check_url("https://example.org/")


def test_a_network_with_host_bits_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="host bits"):
        AllowList.parse(["10.1.2.3/16"])
