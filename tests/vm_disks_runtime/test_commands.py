"""What the commands say, without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.vm_disks_runtime import vms
from vm_disks.runtime.launch import domain_types

PORTAL = "198.51.100.7:3260"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """A VM whose claim's portal is in a network that does not exist (RFC 5737)."""
    spec = vms.vm("vm", [{"name": "root", "disk": {"bus": "virtio"}}], [vms.from_claim("root", "data")])
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "pv"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "iscsi": {"targetPortal": PORTAL, "iqn": "iqn.2026-11.io.lundock:x", "lun": 1},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "volumeName": "pv",
            "storageClassName": "",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    return (
        "-f",
        str(vms.write(tmp_path / "vm.json", [spec])),
        "-f",
        str(vms.write(tmp_path / "c.json", [volume, claim])),
    )


def test_xml_imports_neither_libvirt_nor_kubernetes(files: tuple[str, ...]) -> None:
    """Which is what keeps it under 300 ms."""
    program = (
        "import sys; from vm_disks.__main__ import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(sorted({'libvirt', 'kubernetes', 'requests'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "xml", *files], capture_output=True, text=True, timeout=60, check=True
    )
    assert 'name="iqn.2026-11.io.lundock:x/1"' in done.stdout
    assert done.stderr.strip() == "[]"


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """vm-disks on a Python that lacks a module."""
    program = f"import sys; sys.modules[{module!r}] = None; from vm_disks.__main__ import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_libvirt_what_needs_it_says_so_and_the_rest_works(files: tuple[str, ...]) -> None:
    for command in ("start", "stop", "run", "console", "grow"):
        refused = without("libvirt", command, *files)
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: libvirt's Python binding is not installed")
    for command in ("xml", "domain", "list"):
        assert without("libvirt", command, *files).returncode == 0
    checked = without("libvirt", "check", *files)
    assert checked.returncode == 1
    assert "FAILED  libvirt: libvirt's Python binding is not installed" in checked.stdout
    assert "ok      claims: 1 resolved" in checked.stdout


def test_without_the_kubernetes_client_files_are_asked_for(files: tuple[str, ...]) -> None:
    refused = without("kubernetes", "xml", *files[:2])
    assert refused.returncode == 1
    assert "Python's package kubernetes, which is not installed" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_list_as_json_and_table(files: tuple[str, ...]) -> None:
    uri = "qemu:///nowhere"
    row = json.loads(vms.run("list", *files, "-o", "json", "-c", uri).stdout)[0]
    assert (row["claim"], row["volume"], row["portal"], row["chap"], row["state"]) == (
        "data",
        "pv",
        PORTAL,
        False,
        "unknown",
    )
    heading, line = vms.run("list", *files, "-c", uri).stdout.splitlines()
    assert heading.split() == ["DISK", "CLAIM", "TARGET", "PORTAL", "LUN", "SIZE", "STATE"]
    assert line.split() == ["root", "data", "vda", PORTAL, "1", "1Gi", "unknown"]
    wide = vms.run("list", *files, "-c", uri, "-o", "wide").stdout.splitlines()
    assert len(wide[0].split()) == len(wide[1].split()) == 12
    assert yaml.safe_load(vms.run("list", *files, "-o", "yaml", "-c", uri).stdout) == [row]


def test_a_list_goes_on_where_a_claim_gives_no_disk(tmp_path: Path, files: tuple[str, ...]) -> None:
    document = json.loads(Path(files[1]).read_text(encoding="utf-8"))
    volumes = document["items"][0]["spec"]["template"]["spec"]["volumes"]
    volumes.insert(0, {"name": "lost", "persistentVolumeClaim": {"claimName": "nowhere"}})
    vm = tmp_path / "lost.json"
    vm.write_text(json.dumps(document), encoding="utf-8")
    done = vms.run("list", "-f", str(vm), *files[2:], "-c", "qemu:///nowhere", check=False)
    assert done.returncode == 1
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["root", "data", "vda", PORTAL, "1", "1Gi", "unknown"],
        ["lost", "nowhere", "-", "-", "-", "-", "error"],
    ]
    assert "claim default/nowhere: there is none" in done.stderr


def test_mistakes_are_sentences(files: tuple[str, ...], tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        done = vms.run(*arguments, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "No VM other in the files given; there are vm" in said("xml", "other", *files)
    assert "No VM in the files given" in said("xml", *files[2:])
    assert "Could not connect to libvirt at qemu:///nowhere" in said("stop", *files, "-c", "qemu:///nowhere")
    assert "can't migrate" in said("migrate", *files, "--to", "qemu:///nowhere")


def test_completion_for_kubectl(tmp_path: Path) -> None:
    script = tmp_path / "kubectl_complete-vm_disks"
    script.write_text(vms.run("completion", "kubectl").stdout)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", script, "at"], env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["attach", ":4"]


@pytest.mark.parametrize(
    ("acceleration", "offered", "types"),
    [
        ("auto", True, ("kvm", "qemu")),
        ("auto", False, ("qemu",)),
        ("kvm", False, ("kvm",)),
        ("tcg", True, ("qemu",)),
    ],
)
def test_acceleration(acceleration: Any, offered: bool, types: tuple[str, ...]) -> None:
    assert domain_types(acceleration, offered) == types
