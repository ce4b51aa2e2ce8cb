"""The documents of a VM's owner: manifests, with the objects of the Templates among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lundock_common import manifests
from lundock_common.manifests import Document
from vm_disks import templates
from vm_disks.errors import DocumentError

__all__ = ["Document", "load"]


def load(paths: Sequence[str], parameters: Mapping[str, str] | None = None) -> list[Document]:
    """Every Kubernetes object in these files, in order; a Template is its objects.

    Args:
        paths: files; a directory is its *.yaml, *.yml and *.json, and "-" is stdin.
        parameters: what the Templates' parameters are.

    Raises:
        DocumentError: a file is none of manifests, a parameter has no value, or no Template knows it.
    """
    given = parameters or {}
    unused = set(given)

    def expand(document: Document, file: str) -> list[Any] | None:
        if not templates.is_template(document):
            return None
        unused.difference_update(templates.parameter_names(document))
        return templates.process(document, file, given)

    try:
        found = manifests.load(paths, expand)
    except manifests.ManifestError as error:
        raise DocumentError(str(error)) from error
    if unused:
        raise DocumentError(f"Parameters {', '.join(sorted(unused))}: no Template in {', '.join(paths)} has them.")
    return found
