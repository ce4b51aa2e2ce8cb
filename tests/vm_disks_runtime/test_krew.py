"""The krew plugin: what build.sh packs runs by itself, and the manifest says what krew checks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.vm_disks import cases

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BUILD = Path(__file__).parents[2] / "vm_disks" / "krew" / "build.sh"
URL = "https://plugins.example.com/v1"


def test_the_plugin_runs_by_itself_and_its_manifest_is_krews(tmp_path: Path) -> None:
    built = tmp_path / "built"
    subprocess.run([BUILD, built, URL, "https://example.com"], check=True, timeout=400, stdout=subprocess.DEVNULL)

    manifest = yaml.safe_load((built / "vm-disks.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    (platform,) = manifest["spec"]["platforms"]
    archive = built / "vm-disks.tar.gz"
    assert platform["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert platform["uri"] == f"{URL}/{archive.name}"
    assert "@" not in yaml.safe_dump(manifest)

    with tarfile.open(archive) as packed:
        assert sorted(packed.getnames()) == sorted(file["from"] for file in platform["files"])
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    plugin = [sys.executable, "-S", str(tmp_path / platform["bin"])]  # -S: nothing of this virtual environment

    def run(*arguments: str) -> str:
        return subprocess.run([*plugin, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout

    assert manifest["spec"]["version"].removeprefix("v") in run("--version")
    files = [str(cases.GOLDEN / f"{name}.yaml") for name in ("kvm", "claims")]
    assert "iqn.2017-01.io.kubevirt:sn.42/2" in run("xml", "-f", files[0], "-f", files[1])
    (row,) = json.loads(run("list", "-f", files[0], "-f", files[1], "-o", "json"))
    assert row["state"] == "unknown", "without libvirt there is nobody to ask"
