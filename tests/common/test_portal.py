from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lundock_common.portal import BadPort, BadPortal, Portal, bracketed


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 3260),
        ("target.ns.svc:860", "target.ns.svc", 860),
        ("a_b:1", "a_b", 1),
        ("2001:db8::1", "2001:db8::1", 3260),
        ("fe80::1:3260", "fe80::1:3260", 3260),
        ("[2001:db8::1]", "2001:db8::1", 3260),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("[fe80::1%eth0]:3261", "fe80::1%eth0", 3261),
    ],
)
def test_a_portal_is_read(text: str, host: str, port: int) -> None:
    assert Portal.parse(text) == Portal(host, port)


@pytest.mark.parametrize("text", ["host", "[fd00::1]", "fd00::1"])
def test_a_portal_without_a_port_has_the_default_one(text: str) -> None:
    assert Portal.parse(text, 860).port == 860
    assert Portal.parse(f"{bracketed(Portal.parse(text).host)}:1", 860).port == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no host name or address"),
        (":3260", "has no host name or address"),
        ("[2001:db8::1", "is not [IPv6 address]:port"),
        ("[2001:db8::1]3260", "is not [IPv6 address]:port"),
        ("[192.0.2.1]:3260", "is not [IPv6 address]:port"),
        ("2001:db8::1::2", "is neither host:port nor an IPv6 address"),
        ("a:b:c", "is neither host:port nor an IPv6 address"),
    ],
)
def test_what_is_no_portal_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPortal) as caught:
        Portal.parse(text)
    assert str(caught.value) == f"portal {text!r} {why}"


@pytest.mark.parametrize("port", ["", "0", "65536", "100000", "iscsi", "-1", " 1", "٣"])
@pytest.mark.parametrize("host", ["target", "[fd00::1]"])
def test_what_is_no_port_is_refused(host: str, port: str) -> None:
    with pytest.raises(BadPort, match="is not a port from 1 to 65535") as caught:
        Portal.parse(f"{host}:{port}")
    assert caught.value.port == port


@pytest.mark.parametrize(
    ("portal", "whole", "short"),
    [
        (Portal("host"), "host:3260", "host"),
        (Portal("host", 1), "host:1", "host:1"),
        (Portal("fd00::1"), "[fd00::1]:3260", "[fd00::1]"),
        (Portal("fd00::1", 1), "[fd00::1]:1", "[fd00::1]:1"),
    ],
)
def test_a_portal_is_written(portal: Portal, whole: str, short: str) -> None:
    assert (str(portal), portal.short()) == (whole, short)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_portal_that_is_written_is_read_again(address: object, port: int) -> None:
    portal = Portal(str(address), port)
    assert Portal.parse(str(portal)) == portal == Portal.parse(portal.short())


@given(st.text(max_size=40))
def test_any_text_is_a_portal_or_refused(text: str) -> None:
    try:
        portal = Portal.parse(text)
    except BadPortal:
        return
    assert Portal.parse(str(portal)) == portal
