"""OpenShift's Templates, in which KubeVirt's common templates are written, and KubeVirt's own. Pure.

References: https://docs.okd.io/latest/openshift_images/using-templates.html and
https://github.com/kubevirt/virt-template (template.kubevirt.io, VirtualMachineTemplate).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vm_disks.errors import DocumentError
from vm_disks.objects import Document, listed, mappings, part

_STRING = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_VALUE = re.compile(r"\$\{\{([A-Za-z0-9_]+)\}\}")


def is_template(document: Document) -> bool:
    """Plain v1 was the group of the first Templates of all."""
    group, _, _ = str(document.get("apiVersion")).rpartition("/")
    return (document.get("kind"), group) in (
        ("Template", "template.openshift.io"),
        ("Template", ""),
        ("VirtualMachineTemplate", "template.kubevirt.io"),
    )


def parameter_names(template: Document) -> set[str]:
    return {str(item["name"]) for item in mappings(_body(template), "parameters") if "name" in item}


def _body(template: Document) -> Document:
    """What has the parameters: KubeVirt's has them in its spec, as Kubernetes' objects do."""
    return part(template, "spec") if template.get("kind") == "VirtualMachineTemplate" else template


def _objects(template: Document) -> list[Any]:
    if template.get("kind") == "VirtualMachineTemplate":
        vm = part(template, "spec", "virtualMachine")
        return [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", **vm}] if vm else []
    return listed(template, "objects")


def process(template: Document, file: str, values: Mapping[str, str]) -> list[Any]:
    """The template's objects with parameters put in.

    A generated value (`generate: expression`) must be given: with a new one each time, `start` and `stop` would
    speak of two VMs.

    Args:
        template: the Kubernetes object.
        file: where it stands, for the message.
        values: of the parameters, by name; one that is not here has the template's own value.

    Raises:
        DocumentError: it has no objects, a parameter has no name, or parameters have no value (all are named).
    """
    where = f"{file}: {template['kind']} {part(template, 'metadata').get('name', '')}"
    chosen: dict[str, str] = {}
    missing: list[str] = []
    for item in mappings(_body(template), "parameters"):
        if not isinstance(item.get("name"), str):
            raise DocumentError(f"{where}: a parameter has no name.")
        name = item["name"]
        value = values.get(name, item.get("value"))
        if value in (None, "") and (item.get("required") or item.get("generate")):
            missing.append(name)
        chosen[name] = "" if value is None else str(value)
    if missing:
        example = " ".join(f"-p {name}=…" for name in missing)
        raise DocumentError(f"{where}: parameters that are required or generated have no value; give {example}.")
    objects = _objects(template)
    if not objects:
        raise DocumentError(f"{where}: has no objects.")
    return [_fill(item, chosen) for item in objects]


def _fill(value: Any, chosen: Mapping[str, str]) -> Any:
    """`${NAME}` anywhere in a string; a whole `${{NAME}}` becomes a number, true or false, if it is written as one."""
    if isinstance(value, dict):
        return {_fill(key, chosen): _fill(item, chosen) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, chosen) for item in value]
    if not isinstance(value, str):
        return value
    whole = _VALUE.fullmatch(value)
    if whole and whole[1] in chosen:
        try:
            return json.loads(chosen[whole[1]])
        except json.JSONDecodeError:
            return chosen[whole[1]]
    return _STRING.sub(lambda match: chosen.get(match[1], match[0]), value)
