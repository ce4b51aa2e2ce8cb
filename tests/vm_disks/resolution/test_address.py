import pytest
from hypothesis import given
from hypothesis import strategies as st

from lundock_common.portal import BadPortal, Portal
from vm_disks.resolution.address import parse_portal


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 3260),
        ("192.0.2.1:3261", "192.0.2.1", 3261),
        ("target", "target", 3260),
        ("target.ns.svc.cluster.local:860", "target.ns.svc.cluster.local", 860),
        ("2001:db8::1", "2001:db8::1", 3260),
        ("[2001:db8::1]", "2001:db8::1", 3260),
        ("[2001:db8::1]:3261", "2001:db8::1", 3261),
        ("fe80::1:3260", "fe80::1:3260", 3260),
        (" 192.0.2.1:1 ", "192.0.2.1", 1),
        ("target:65535", "target", 65535),
    ],
)
def test_a_portal_is_read(text: str, host: str, port: int) -> None:
    assert parse_portal(text) == Portal(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":3260",
        "target:",
        "target:0",
        "target:65536",
        "target:70000",
        "target:iscsi",
        "192.0.2.256",
        "192.0.2",
        "[192.0.2.1]:3260",
        "[2001:db8::1",
        "[2001:db8::1]3260",
        "2001:db8::1::2",
        "fe80::1%eth0",
        "[fe80::1%eth0]:3260",
        "a b",
        "target/1",
        "<target>",
    ],
)
def test_what_is_no_portal_is_refused(text: str) -> None:
    with pytest.raises(BadPortal):
        parse_portal(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_portal_that_is_written_is_read_again(address: object, port: int) -> None:
    portal = Portal(str(address), port)
    assert parse_portal(str(portal)) == portal


@given(st.text(max_size=40))
def test_any_text_is_a_portal_or_refused(text: str) -> None:
    try:
        portal = parse_portal(text)
    except BadPortal:
        return
    assert parse_portal(str(portal)) == portal
