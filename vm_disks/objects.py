"""Parts of Kubernetes objects, which in a manifest may be anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def part(document: Document, *names: str) -> Document:
    """The mapping at these names, one inside the other; empty where there is none."""
    for name in names:
        value = document.get(name)
        document = value if isinstance(value, dict) else {}
    return document


def listed(document: Document, name: str) -> list[Any]:
    """The list of this name; empty where there is none."""
    value = document.get(name)
    return value if isinstance(value, list) else []


def mappings(document: Document, name: str) -> list[Document]:
    """The mappings in the list of this name."""
    return [item for item in listed(document, name) if isinstance(item, dict)]
