from pathlib import Path

import pytest

from vm_disks import documents
from vm_disks.errors import DocumentError

TEMPLATE = """
apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: small}
parameters:
- {name: NAME, required: true}
- {name: PASSWORD, generate: expression, from: "[a-z]{8}"}
- {name: CORES, value: "2"}
objects:
- {apiVersion: v1, kind: A, name: "x-${NAME}-${UNKNOWN}", cores: "${{CORES}}", text: "${{NAME}}"}
"""


def test_a_template_gets_its_parameters(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)
    (found,) = documents.load([str(file)], {"NAME": "vm", "PASSWORD": "p"})
    assert found == {"apiVersion": "v1", "kind": "A", "name": "x-vm-${UNKNOWN}", "cores": 2, "text": "vm"}


def test_kubevirts_own_template_gives_its_vm(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(
        "{apiVersion: template.kubevirt.io/v1alpha1, kind: VirtualMachineTemplate, metadata: {name: t}, spec: "
        '{parameters: [{name: NAME}], virtualMachine: {metadata: {name: "${NAME}"}, spec: {}}}}'
    )
    (found,) = documents.load([str(file)], {"NAME": "vm"})
    assert found == {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "vm"}, "spec": {}}


def test_every_parameter_without_a_value_is_named(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)
    with pytest.raises(DocumentError, match=r"-p NAME=… -p PASSWORD=…"):
        documents.load([str(file)])


def test_a_parameter_that_nobody_knows_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)
    with pytest.raises(DocumentError, match="Parameters NAEM"):
        documents.load([str(file)], {"NAME": "vm", "PASSWORD": "p", "NAEM": "x"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "as YAML"),
        ("{apiVersion: v1, kind: Template, objects: 3}", "Template : has no objects"),
        ("{apiVersion: v1, kind: Template, parameters: [{value: 1}]}", "a parameter has no name"),
        ("{apiVersion: v1, kind: Template, objects: &a [*a]}", "contains itself"),
    ],
)
def test_a_file_that_holds_no_whole_template_is_refused_by_name(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(DocumentError, match=reason) as refused:
        documents.load([str(file)])
    assert "bad.yaml" in str(refused.value)
