"""Every golden VM gives the domain in its golden file; together they exercise every declared field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.vm_disks import cases
from vm_disks import specs
from vm_disks.specs.fields import FIELDS, LEGACY_FIELDS, Fate
from vm_disks.specs.node import Node
from vm_disks.xml import disk_xml, domain_xml, markup


def exercised(root: markup.Element, fields: Iterable[markup.Field[Any]]) -> set[str]:
    """The paths of the fields that a document has."""
    found = set()
    for field in fields:
        path, _, attribute = field.path.partition("@")
        path = path.rstrip("/")
        places = root.findall(path) if path else [root]
        if any(not attribute or attribute in place.attrib for place in places):
            found.add(field.path)
    return found


@pytest.mark.parametrize("case", cases.CASES)
def test_a_spec_gives_its_golden_domain_to_the_byte(case: str, request: pytest.FixtureRequest) -> None:
    golden = cases.GOLDEN / f"{case}.xml"
    rendered = cases.render(case)
    if request.config.getoption("--rewrite-golden"):
        golden.write_text(rendered)
    assert rendered == golden.read_text(), f"rewrite with: pytest {__file__} --rewrite-golden, and read the difference"


@pytest.mark.parametrize("case", cases.CASES)
def test_no_password_is_in_the_xml(case: str) -> None:
    assert "never-in-XML" not in cases.render(case)


def test_every_field_of_the_xml_is_in_some_golden() -> None:
    roots = [markup.parse((cases.GOLDEN / f"{case}.xml").read_text()) for case in cases.CASES]
    places: list[tuple[markup.Element | None, Sequence[markup.Field[Any]]]] = [
        *((disk, disk_xml.FIELDS) for root in roots for disk in root.iterfind("devices/disk")),
        *((interface, domain_xml.INTERFACE) for root in roots for interface in root.iterfind("devices/interface")),
        *((root, domain_xml.HEAD) for root in roots),
        *(
            (controller, fields)
            for root in roots
            for controller in root.iterfind("devices/controller")
            for fields in (domain_xml.ROOT, domain_xml.ROOT_PORT)
        ),
        *((root.find("devices"), fields) for root in roots for fields in domain_xml.DEVICES),
    ]
    declared = {(id(fields), field.path) for _, fields in places for field in fields}
    seen = {(id(fields), path) for place, fields in places if place is not None for path in exercised(place, fields)}
    assert not {path for _, path in declared - seen}


def test_every_honoured_field_of_a_spec_is_in_some_golden() -> None:
    seen: set[str] = set()
    for case in cases.CASES:
        document, _ = cases.load(case)
        path, _ = specs.READERS[document["apiVersion"], document["kind"]]
        seen |= _paths(Node(document, "", [])[path].value)
    honoured = {path for path, field in {**FIELDS, **LEGACY_FIELDS}.items() if field.fate is Fate.HONOURED}
    assert not honoured - seen


def _paths(value: object, path: str = "") -> set[str]:
    if isinstance(value, dict):
        below = {
            inner for name, item in value.items() for inner in _paths(item, f"{path}.{name}" if path else str(name))
        }
        return {path} | below
    if isinstance(value, list):
        return {path} | {inner for item in value for inner in _paths(item, f"{path}[]")}
    return {path}
