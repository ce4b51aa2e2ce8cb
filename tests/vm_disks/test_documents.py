import io
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


def names(found: list[documents.Document]) -> list[str]:
    return [document["kind"] for document in found]


def test_documents_lists_json_and_stdin_are_one_flat_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(
        "---\napiVersion: v1\nkind: A\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B}\n"
    )
    (tmp_path / "b.json").write_text(
        '{"apiVersion": "v1", "kind": "CList", "items": [{"apiVersion": "v1", "kind": "C"}]}'
    )
    (tmp_path / "ignored.txt").write_text("{{")
    monkeypatch.setattr("sys.stdin", io.StringIO("{apiVersion: v1, kind: D}"))
    assert names(documents.load([str(tmp_path), "-"])) == ["A", "B", "C", "D"]


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
        ("- 1", "no apiVersion and kind"),
        ("kind: A", "no apiVersion and kind"),
        ("{apiVersion: v1, kind: List, items: 3}", "no list of objects"),
        ("{apiVersion: v1, kind: Template, objects: 3}", "Template : has no objects"),
        ("{apiVersion: v1, kind: Template, parameters: [{value: 1}]}", "a parameter has no name"),
        ("{apiVersion: v1, kind: A, metadata: 3}", "metadata is not a mapping"),
        ("{apiVersion: v1, kind: A, spec: []}", "spec is not a mapping"),
        ("!!python/object/apply:os.getcwd []", "as YAML"),
        ("&a {apiVersion: v1, kind: List, items: [*a]}", "contains itself"),
        ("{apiVersion: v1, kind: Template, objects: &a [*a]}", "contains itself"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(DocumentError, match=reason) as refused:
        documents.load([str(file)])
    assert "bad.yaml" in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    for path in (str(tmp_path / "binary.yaml"), "-"):
        with pytest.raises(DocumentError, match="not UTF-8 text"):
            documents.load([path])


def test_plain_scalars_are_what_they_are_to_kubectl(tmp_path: Path) -> None:
    """YAML 1.1 would have the first be a number to the base of 60, and the second a date that no JSON can hold."""
    file = tmp_path / "a.yaml"
    scalars = "[52:54:00:12:34:56, 2026-01-01, 2026-13-45, 1:30.5, 12, 1.5, 0x10, true, null, ~]"
    file.write_text(f"{{apiVersion: v1, kind: A, values: {scalars}}}")
    (found,) = documents.load([str(file)])
    texts = ["52:54:00:12:34:56", "2026-01-01", "2026-13-45", "1:30.5"]
    assert found["values"] == [*texts, 12, 1.5, 16, True, None, None]


def test_json_that_is_no_yaml_is_read(tmp_path: Path) -> None:
    """An emoji as Python's json writes it, and one document after the other, as kubectl takes them."""
    file = tmp_path / "a.json"
    file.write_text('{\n\t"apiVersion": "v1",\n\t"kind": "\\ud83d\\ude00\\/"\n}\n{"apiVersion": "v1", "kind": "B"}\n')
    assert names(documents.load([str(file)])) == ["\U0001f600/", "B"]
    file.write_text("{apiVersion: v1, kind: C}\n---\n{apiVersion: v1, kind: D}\n")
    assert names(documents.load([str(file)])) == ["C", "D"]


def test_a_directory_without_manifests_and_a_path_that_is_none_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(DocumentError, match=r"no \.yaml|name too long"):
            documents.load([str(path)])


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml"):
        documents.load([str(tmp_path / "nowhere.yaml")])
