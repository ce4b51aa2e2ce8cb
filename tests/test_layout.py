"""The layout that CONTRIBUTING.md describes is the one there is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = ("lundock_common", "target_image", "provisioner", "vm_disks", "cluster", "bench", "charts", "tests")
MODULES = [path for folder in CODE for path in (REPOSITORY / folder).rglob("*.py")]


def test_each_path_where_a_change_goes_exists() -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", CONTRIBUTING)
    assert len(named) > 20
    missing = [path for path in named if not (REPOSITORY / path).exists()]
    assert not missing


def test_each_module_that_a_page_names_exists() -> None:
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    known = {str(path.relative_to(REPOSITORY)) for path in MODULES}
    gone = [
        f"{page.relative_to(REPOSITORY)}: {name}"
        for page in pages
        for name in re.findall(r"`((?:[\w-]+/)+\w+\.py)`", page.read_text(encoding="utf-8"))
        if not any(path == name or path.endswith(f"/{name}") for path in known)
    ]
    assert gone == []


def test_a_folder_has_at_most_16_modules() -> None:
    modules = Counter(str(path.parent.relative_to(REPOSITORY)) for path in MODULES if path.name != "__init__.py")
    assert {folder: count for folder, count in modules.items() if count > 16} == {}


def test_a_module_has_at_most_400_lines() -> None:
    lines = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {module: count for module, count in lines.items() if count > 400} == {}
