"""Manifests from files and stdin, read as kubectl reads them: one flat list of Kubernetes objects.

Several YAML documents or JSON values a file, directories, Lists of any kind. Where PyYAML and kubectl's YAML library
take the same text for different values, kubectl's is what counts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
Expand = Callable[[Document, str], list[Any] | None]
"""The objects that stand in a document of a kind of its own, such as a Template; None where it is just an object.

Called with the document and the name of its file.
"""

SUFFIXES = (".yaml", ".yml", ".json")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML has it: about eight times as fast."""


class ManifestError(Exception):
    """A file that cannot be read, is neither YAML nor JSON, or holds something that is no Kubernetes object."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What a plain scalar is, but without YAML 1.1's dates and numbers to the base of 60.

    kubectl's YAML library knows neither, so 52:54:00:12:34:56 is a MAC address to it, and 2026-01-01 a text.
    """
    kept: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for first, resolvers in _BASE.yaml_implicit_resolvers.items():
        kept[first] = []
        for tag, pattern in resolvers:
            kind = tag.rpartition(":")[2]
            if kind in ("int", "float"):
                kept[first].append((tag, re.compile(f"(?![^:]*:){pattern.pattern}", re.VERBOSE)))
            elif kind != "timestamp":
                kept[first].append((tag, pattern))
    return kept


_LOADER: Any = type("Loader", (_BASE,), {"yaml_implicit_resolvers": _resolvers()})


def load(paths: Sequence[str], expand: Expand = lambda _document, _file: None) -> list[Document]:
    """Every Kubernetes object in these files, in order.

    Args:
        paths: files; a directory is its *.yaml, *.yml and *.json, and "-" is stdin.
        expand: asked for each document that is no List; what it gives is read as the items of a List are.

    Returns:
        Mappings with apiVersion and kind, in which metadata, spec and status are mappings where they are at all.

    Raises:
        ManifestError: names the file, what is wrong with it and, where that helps, what to do.
    """
    documents: list[Document] = []
    for path in paths:
        for file, text in _texts(path):
            try:
                for document in _parse(file, text):
                    documents.extend(_flatten(document, file, expand))
            except RecursionError as error:  # an alias inside of its own anchor
                raise ManifestError(
                    f"Reading {file}: an object there contains itself, or is nested too deep."
                ) from error
    return documents


def _texts(path: str) -> Iterator[tuple[str, str]]:
    place = Path(path)
    try:
        files = sorted(p for p in place.iterdir() if p.suffix in SUFFIXES) if place.is_dir() else [place]
    except OSError as error:
        raise ManifestError(f"Reading {path}: {error.strerror or error}. Check the path given with -f.") from error
    if not files:
        raise ManifestError(f"{path}: the directory has no {', '.join(SUFFIXES)} file.")
    for file in files:
        name = "stdin" if path == "-" else str(file)
        try:
            yield name, sys.stdin.read() if path == "-" else file.read_text(encoding="utf-8")
        except OSError as error:
            raise ManifestError(f"Reading {name}: {error.strerror or error}. Check the path given with -f.") from error
        except UnicodeDecodeError as error:
            raise ManifestError(f"Reading {name}: it is not UTF-8 text.") from error


def _parse(file: str, text: str) -> list[Any]:
    if text.lstrip().startswith(("{", "[")) and (found := _json(text)) is not None:
        return found
    try:
        return list(yaml.load_all(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-13-45
        raise ManifestError(f"Reading {file} as YAML: {' '.join(str(error).split())}") from error


def _json(text: str) -> list[Any] | None:
    """JSON documents, one after the other; None for what is none, such as YAML that begins with a bracket.

    JSON is no subset of the YAML that PyYAML reads, which takes no escaped pairs of surrogates (emoji, as Python's json
    writes them).
    """
    decoder, found, position = json.JSONDecoder(), [], 0
    try:
        while text := text[position:].lstrip():
            document, position = decoder.raw_decode(text)
            found.append(document)
    except ValueError:
        return None
    return found


def _flatten(document: Any, file: str, expand: Expand) -> Iterator[Document]:
    if document is None:
        return
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise ManifestError(f"{file}: a document there has no apiVersion and kind, so it is not a Kubernetes object.")
    for part in ("metadata", "spec", "status"):
        if not isinstance(document.get(part), (dict, type(None))):
            raise ManifestError(f"{file}: {document['kind']}: its {part} is not a mapping.")
    if document["kind"] == "List" or (str(document["kind"]).endswith("List") and "items" in document):
        inner: Any = document.get("items") or []
    else:
        inner = expand(document, file)
        if inner is None:
            yield document
            return
    if not isinstance(inner, list):
        raise ManifestError(f"{file}: the {document['kind']} has no list of objects.")
    for item in inner:
        yield from _flatten(item, file, expand)
