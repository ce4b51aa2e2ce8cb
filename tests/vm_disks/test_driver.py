"""What the goldens are worth: libvirt's schema takes them, and its QEMU driver makes a command line of them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.capabilities import need
from tests.vm_disks import cases
from tests.vm_disks.driver import accept

pytestmark = pytest.mark.integration


def test_the_schema_takes_every_golden(tmp_path: Path) -> None:
    """One xmllint for all, with the schema that virt-xml-validate would take: ten times as fast."""
    need("virt-xml-validate")
    assert shutil.which("xmllint"), "virt-xml-validate calls xmllint (Debian package libxml2-utils)"
    goldens = [str(cases.GOLDEN / f"{case}.xml") for case in cases.CASES]
    schema = "/usr/share/libvirt/schemas/domain.rng"
    answer = subprocess.run(
        ["xmllint", "--noout", "--relaxng", schema, *goldens], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    subprocess.run(["virt-xml-validate", goldens[0], "domain"], check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("case", cases.CASES)
def test_the_driver_takes_every_golden(case: str, libvirt_driver: Any) -> None:
    given = cases.OPTIONS.get(case, cases.EMULATED)
    options = dataclasses.replace(given, type="qemu")
    command = accept(libvirt_driver, cases.render(case, options))
    _, disks = cases.read(case)
    for disk in disks:
        if disk.address and not disk.file:
            assert f'"target":"{disk.address.iqn}"' in command
            assert f'"lun":{disk.address.lun}' in command
            assert f'"portal":"{disk.address.portals[0]}"' in command
