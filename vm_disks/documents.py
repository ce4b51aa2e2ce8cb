"""Manifests from files and stdin: multi-document YAML, JSON, Lists and Templates, as one flat list."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vm_disks import templates
from vm_disks.errors import DocumentError

Document = dict[str, Any]

SUFFIXES = (".yaml", ".yml", ".json")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML has it: about eight times as fast."""


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


def load(paths: Sequence[str], parameters: Mapping[str, str] | None = None) -> list[Document]:
    """Every Kubernetes object in these files, in order; a directory is its *.yaml, *.yml and *.json; "-" is stdin.

    A List becomes its items; a Template its objects with `parameters` put in. Raises DocumentError.
    """
    documents: list[Document] = []
    unused = set(parameters or {})
    for path in paths:
        for name, text in _texts(path):
            try:
                for document in _parse(name, text):
                    documents.extend(_flatten(document, name, parameters or {}, unused))
            except RecursionError as error:  # an alias inside of its own anchor
                raise DocumentError(
                    f"Reading {name}: an object there contains itself, or is nested too deep."
                ) from error
    if unused:
        raise DocumentError(f"Parameters {', '.join(sorted(unused))}: no Template in {', '.join(paths)} has them.")
    return documents


def _texts(path: str) -> Iterator[tuple[str, str]]:
    place = Path(path)
    try:
        files = sorted(p for p in place.iterdir() if p.suffix in SUFFIXES) if place.is_dir() else [place]
    except OSError as error:
        raise DocumentError(f"Reading {path}: {error.strerror or error}. Check the path given with -f.") from error
    if not files:
        raise DocumentError(f"{path}: the directory has no {', '.join(SUFFIXES)} file.")
    for file in files:
        name = "stdin" if path == "-" else str(file)
        try:
            yield name, sys.stdin.read() if path == "-" else file.read_text(encoding="utf-8")
        except OSError as error:
            raise DocumentError(f"Reading {name}: {error.strerror or error}. Check the path given with -f.") from error
        except UnicodeDecodeError as error:
            raise DocumentError(f"Reading {name}: it is not UTF-8 text.") from error


def _parse(name: str, text: str) -> list[Any]:
    if text.lstrip().startswith(("{", "[")) and (found := _json(text)) is not None:
        return found
    try:
        return list(yaml.load_all(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-13-45
        raise DocumentError(f"Reading {name} as YAML: {' '.join(str(error).split())}") from error


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


def _flatten(document: Any, name: str, parameters: Mapping[str, str], unused: set[str]) -> Iterator[Document]:
    if document is None:
        return
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise DocumentError(f"{name}: a document there has no apiVersion and kind, so it is not a Kubernetes object.")
    for part in ("metadata", "spec", "status"):
        if not isinstance(document.get(part), (dict, type(None))):
            raise DocumentError(f"{name}: {document['kind']}: its {part} is not a mapping.")
    if templates.is_template(document):
        unused -= templates.parameter_names(document)
        inner: Any = templates.process(document, name, parameters)
    elif document["kind"] == "List" or (str(document["kind"]).endswith("List") and "items" in document):
        inner = document.get("items") or []
    else:
        yield document
        return
    if not isinstance(inner, list):
        raise DocumentError(f"{name}: the {document['kind']} has no list of objects.")
    for item in inner:
        yield from _flatten(item, name, parameters, unused)
