"""XML from a table of fields, each declared once beside its XPath. The only user of an XML library here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar
from xml.etree import ElementTree

from vm_disks.errors import DomainError

Element = ElementTree.Element
T = TypeVar("T")
Value = str | int | bool | None

INDENT = "  "


@dataclass(frozen=True)
class Field(Generic[T]):
    """`path` is an XPath of child steps (`driver/@name`, `serial`, `timer[2]/@name`); `value` is what stands there.

    None and False: nothing is written. True: an empty element.
    """

    path: str
    value: Callable[[T], Value]


def carries(text: str) -> bool:
    """Whether XML can: all characters are of XML 1.0's Char production (section 2.2)."""
    return re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text) is None


def build(tag: str, fields: Iterable[Field[T]], thing: T) -> Element:
    """An element with every field that has a value, in the order of the table.

    Raises:
        DomainError: a value has what XML cannot carry: ElementTree would write it, and no parser would read it.
    """
    root = ElementTree.Element(tag)
    for field in fields:
        value = field.value(thing)
        if value is None or value is False:
            continue
        *steps, last = field.path.split("/")
        place = root
        for step in steps:
            place = _child(place, step)
        if isinstance(value, str) and not carries(value):
            raise DomainError(f"<{tag}> {field.path}: {value!r} has characters that XML cannot carry.")
        if last.startswith("@"):
            place.set(last[1:], str(value))
        else:
            child = _child(place, last)
            child.text = None if value is True else str(value)
    return root


def text(root: Element) -> str:
    """The document on indented lines, with a line end at its end."""
    ElementTree.indent(root, INDENT)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def text_as_is(root: Element) -> str:
    """The document with the white space it has."""
    return ElementTree.tostring(root, encoding="unicode").rstrip() + "\n"


def parse(document: str) -> Element:
    """The root, with comments and the prefixes of name spaces kept.

    Raises:
        DomainError: the document is not XML, or has a DOCTYPE.
    """
    if "<!DOCTYPE" in document:
        raise DomainError("The domain XML has a DOCTYPE; libvirt's never has, and its entities could be a trap.")
    try:
        for _, (prefix, uri) in ElementTree.iterparse(io.StringIO(document), events=("start-ns",)):  # noqa: S314
            if not re.fullmatch(r"ns\d+", prefix):
                ElementTree.register_namespace(prefix, uri)
        builder = ElementTree.TreeBuilder(insert_comments=True)
        return ElementTree.fromstring(document, ElementTree.XMLParser(target=builder))  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise DomainError(f"Reading the domain XML: {error}.") from error


def get(element: Element, child: str, attribute: str) -> str | None:
    found = element.find(child)
    return None if found is None else found.get(attribute)


def put(element: Element, child: str, attribute: str, value: str | None) -> None:
    """Set a child's attribute; None takes it away."""
    found = _child(element, child)
    if value is None:
        found.attrib.pop(attribute, None)
    else:
        found.set(attribute, value)


def remove(element: Element, child: str) -> None:
    for found in element.findall(child):
        element.remove(found)


def replace(parent: Element, old: Element, new: Element) -> None:
    """Put `new` where `old` is, indented as deep."""
    index = list(parent).index(old)
    lead = (parent.text if index == 0 else parent[index - 1].tail) or ""
    _indent(new, lead)
    new.tail = old.tail
    parent[index] = new


def add(parent: Element, new: Element, after: str) -> None:
    """Put `new` behind the last child of a name, or first, on lines of its own."""
    children = list(parent)
    index = max((index + 1 for index, child in enumerate(children) if child.tag == after), default=0)
    lead = parent.text or ""
    _indent(new, lead)
    if index:
        new.tail, children[index - 1].tail = children[index - 1].tail, lead
    else:
        new.tail = lead
    parent.insert(index, new)


def _indent(element: Element, lead: str) -> None:
    """As deep as the white space before it says."""
    ElementTree.indent(element, INDENT, level=len(lead.rpartition("\n")[2]) // len(INDENT))


def _child(parent: Element, step: str) -> Element:
    """The child of this name; `name[2]` is the second, made when the first is there."""
    name, _, index = step.removesuffix("]").partition("[")
    children = parent.findall(name)
    if len(children) >= int(index or 1):
        return children[int(index or 1) - 1]
    return ElementTree.SubElement(parent, name)
