"""Writes charts/lundock/README.md's table of values and values.schema.json from values.yaml and the programs' settings.

`python charts/generate.py` writes them; with `--check` it only says whether they are up to date. A comment
`# -- text` above a value describes it, and `# @schema {...}` (YAML) adds to the type that its default shows.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from provisioner.planning.parameters import FILE_SYSTEM_ALIASES, KNOWN
from provisioner.settings import Settings as ProvisionerSettings
from target_image.agent.settings import Settings as TargetSettings

CHART = Path(__file__).with_name("lundock")
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

TARGET_OWN = {
    *("data_dir", "run_dir", "share_dir", "token_file", "tls_cert_file", "tls_key_file"),
    *("engine", "shards", "iscsi_port", "api_port", "page_port", "metrics_port", "demo"),
}
"""Settings of the agent that the chart itself decides, since other objects depend on them."""

PROVISIONER_OWN = {"provisionerName", "release", "targets", "chap", "http"}
"""Sections of the provisioner's configuration that the chart itself writes."""


@dataclass(frozen=True)
class Value:
    """One leaf of values.yaml."""

    path: tuple[str, ...]
    default: Any
    description: str
    constraints: dict[str, Any]


def values(text: str) -> Iterator[Value]:
    """The leaves of values.yaml with the comments above them.

    Raises:
        ValueError: a leaf has no description.
    """
    lines = text.splitlines()

    def comment(line: int) -> tuple[str, dict[str, Any]]:
        above: list[str] = []
        while line > 0 and lines[line - 1].lstrip().startswith("#"):
            line -= 1
            above.insert(0, lines[line].lstrip().lstrip("#").strip())
        constraints = [yaml.safe_load(entry.removeprefix("@schema")) for entry in above if entry.startswith("@schema")]
        described = " ".join(entry for entry in above if not entry.startswith("@schema"))
        return described.partition("-- ")[2], constraints[0] if constraints else {}

    def walk(node: Any, path: tuple[str, ...]) -> Iterator[Value]:
        for key, child in node.value:
            here = (*path, key.value)
            description, constraints = comment(key.start_mark.line)
            if not description and isinstance(child, yaml.MappingNode) and child.value:
                yield from walk(child, here)
            elif not description:
                raise ValueError(f"values.yaml: {'.'.join(here)} has no description (`# -- ...` above it)")
            else:
                yield Value(here, yaml.safe_load(yaml.serialize(child)), description, constraints)

    yield from walk(yaml.compose(text), ())


TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def schema(leaves: list[Value]) -> dict[str, Any]:
    """values.schema.json: closed objects all the way down, so that a typo is an error."""
    root = closed()
    for leaf in leaves:
        place = root
        for part in leaf.path[:-1]:
            place = place["properties"].setdefault(part, closed())
        typed = {} if "$ref" in leaf.constraints else {"type": TYPES[type(leaf.default)]}
        place["properties"][leaf.path[-1]] = {"description": leaf.description, **typed, **leaf.constraints}
    # What Helm itself puts beside a chart's values.
    root["properties"]["global"] = {"type": "object"}
    definitions = {
        "storageClasses": storage_classes(),
        "targetSettings": target_settings(),
        "provisionerSettings": provisioner_settings(),
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}


def closed(properties: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object that has these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties or {}}


def storage_classes() -> dict[str, Any]:
    strings = {"type": "object", "additionalProperties": {"type": "string"}}
    plain = {"type": ["string", "boolean", "integer"]}
    properties = {
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"},
        "default": {"type": "boolean"},
        "reclaimPolicy": {"enum": ["Delete", "Retain"]},
        "allowVolumeExpansion": {"type": "boolean"},
        "mountOptions": {"type": "array", "items": {"type": "string"}},
        "parameters": closed(dict.fromkeys((*KNOWN, *FILE_SYSTEM_ALIASES), plain)),
        "annotations": strings,
    }
    return {"type": "array", "minItems": 1, "items": {"required": ["name"], **closed(properties)}}


def target_settings() -> dict[str, Any]:
    """The agent's settings that are left to the user, as Settings declares them."""
    hints = typing.get_type_hints(TargetSettings)
    fields = {name: field for name, field in TargetSettings.model_fields.items() if name not in TARGET_OWN}
    # As on the command line, bytes may be written 64Mi.
    kinds = {
        name: {"type": ["integer", "string"]} if name.endswith("_bytes") else _json_type(hints[name]) for name in fields
    }
    return closed({name: {"description": field.description, **kinds[name]} for name, field in fields.items()})


def _json_type(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _json_type(arguments[0])}
    if origin in (types.UnionType, typing.Union):
        return _json_type(next(argument for argument in arguments if argument is not type(None)))
    return {"type": "string"} if hint is Path else {"type": TYPES[hint]}


def provisioner_settings() -> dict[str, Any]:
    """The sections of the provisioner's configuration that are left to the user, with references resolved."""
    whole = ProvisionerSettings.model_json_schema(by_alias=True)

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {key: value for key, value in node.items() if key not in ("title", "default")}
        if "$ref" in node:
            node = {**whole["$defs"][node.pop("$ref").rpartition("/")[2]], **node}
            return resolve(node)
        return {key: resolve(value) for key, value in node.items()}

    sections = resolve({name: node for name, node in whole["properties"].items() if name not in PROVISIONER_OWN})
    for name in ("namespace", "name"):
        sections["leaderElection"]["properties"].pop(name)
    return closed(sections)


def table(leaves: list[Value]) -> str:
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for leaf in leaves:
        default = json.dumps(leaf.default, ensure_ascii=False)
        rows.append(f"| `{'.'.join(leaf.path)}` | `{default}` | {leaf.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def generated() -> dict[Path, str]:
    """What each generated file has to contain."""
    leaves = list(values((CHART / "values.yaml").read_text(encoding="utf-8")))
    readme = CHART / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        CHART / "values.schema.json": json.dumps(schema(leaves), indent=2, ensure_ascii=False) + "\n",
        readme: f"{before}{BEGIN}\n\n{table(leaves)}\n\n{END}{after}",
    }


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if check:
            print(f"{path} is not up to date: run `python charts/generate.py`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
