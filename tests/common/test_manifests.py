import io
from pathlib import Path

import pytest

from lundock_common import manifests
from lundock_common.manifests import ManifestError


def names(found: list[manifests.Document]) -> list[str]:
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
    assert names(manifests.load([str(tmp_path), "-"])) == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "as YAML"),
        ("- 1", "no apiVersion and kind"),
        ("kind: A", "no apiVersion and kind"),
        ("{apiVersion: v1, kind: List, items: 3}", "no list of objects"),
        ("{apiVersion: v1, kind: A, metadata: 3}", "metadata is not a mapping"),
        ("{apiVersion: v1, kind: A, spec: []}", "spec is not a mapping"),
        ("!!python/object/apply:os.getcwd []", "as YAML"),
        ("&a {apiVersion: v1, kind: List, items: [*a]}", "contains itself"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ManifestError, match=reason) as refused:
        manifests.load([str(file)])
    assert "bad.yaml" in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    for path in (str(tmp_path / "binary.yaml"), "-"):
        with pytest.raises(ManifestError, match="not UTF-8 text"):
            manifests.load([path])


def test_plain_scalars_are_what_they_are_to_kubectl(tmp_path: Path) -> None:
    """YAML 1.1 would have the first be a number to the base of 60, and the second a date that no JSON can hold."""
    file = tmp_path / "a.yaml"
    scalars = "[52:54:00:12:34:56, 2026-01-01, 2026-13-45, 1:30.5, 12, 1.5, 0x10, true, null, ~]"
    file.write_text(f"{{apiVersion: v1, kind: A, values: {scalars}}}")
    (found,) = manifests.load([str(file)])
    texts = ["52:54:00:12:34:56", "2026-01-01", "2026-13-45", "1:30.5"]
    assert found["values"] == [*texts, 12, 1.5, 16, True, None, None]


def test_json_that_is_no_yaml_is_read(tmp_path: Path) -> None:
    """An emoji as Python's json writes it, and one document after the other, as kubectl takes them."""
    file = tmp_path / "a.json"
    file.write_text('{\n\t"apiVersion": "v1",\n\t"kind": "\\ud83d\\ude00\\/"\n}\n{"apiVersion": "v1", "kind": "B"}\n')
    assert names(manifests.load([str(file)])) == ["\U0001f600/", "B"]
    file.write_text("{apiVersion: v1, kind: C}\n---\n{apiVersion: v1, kind: D}\n")
    assert names(manifests.load([str(file)])) == ["C", "D"]


def test_a_directory_without_manifests_and_a_path_that_is_none_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(ManifestError, match=r"no \.yaml|name too long"):
            manifests.load([str(path)])


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere\.yaml"):
        manifests.load([str(tmp_path / "nowhere.yaml")])
