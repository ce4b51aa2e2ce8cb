"""What the library's page shows works as it is written there, and asks nothing of anybody."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.vm_disks import cases

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "library.md"


def test_the_example_runs_without_libvirt_and_the_kubernetes_client(tmp_path: Path) -> None:
    """Both take longer to import than all else together, so the command line would be slow with them."""
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example
    (tmp_path / "vm.yaml").write_text((cases.GOLDEN / "kvm.yaml").read_text())
    (tmp_path / "claims.yaml").write_text((cases.GOLDEN / "claims.yaml").read_text())
    program = f"{example[1]}\nimport sys\nassert not {{'libvirt', 'kubernetes', 'requests'}} & set(sys.modules)\n"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("root sda sata LunAddress(")
