"""Any VM spec gives a domain that libvirt accepts, or a typed error; never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.vm_disks import cases, strategies
from tests.vm_disks.driver import accept
from vm_disks import resolve, specs
from vm_disks.errors import VmDisksError
from vm_disks.resolution.lookup import FromManifests
from vm_disks.xml import domain_xml, markup

CLAIMS = cases.load("defaults")[1][1:]


def render(document: dict[str, Any], claims: Sequence[dict[str, Any]] = CLAIMS) -> str | None:
    try:
        vm = specs.read(document)
        disks = [cases.with_file(disk) for disk in resolve(vm, FromManifests(claims))]
        xml = domain_xml.render(vm, disks, cases.EMULATED)
        markup.parse(xml.encode().decode())  # what is printed can be read
        return xml
    except VmDisksError as error:
        event(type(error).__name__)
        return None


@given(strategies.damaged_vms())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_spec_is_a_typed_error_or_a_domain(document: dict[str, Any]) -> None:
    render(document)


@given(st.sampled_from(CLAIMS).flatmap(strategies.damaged))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_claim_volume_or_secret_is_a_typed_error_or_a_domain(document: dict[str, Any]) -> None:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    others = [other for other in CLAIMS if (other["kind"], other["metadata"]["name"]) != (document["kind"], name)]
    for case in ("defaults", "disk-fields"):
        render(cases.load(case)[0], [document, *others])


@pytest.mark.integration
@given(document=strategies.plausible())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_driver_takes_what_we_do_not_refuse(document: dict[str, Any], libvirt_driver: Any) -> None:
    xml = render(document)
    if xml:
        event("a domain")
        accept(libvirt_driver, xml)
