"""The KubeVirt hook: run as the shim runs it, on XML as KubeVirt writes it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from lundock_common.portal import Portal
from vm_disks import hook
from vm_disks.errors import SpecError, VmDisksError
from vm_disks.model import ClaimSource, Disk, DiskSpec
from vm_disks.resolution.address import ChapReference, LunAddress

DOMAIN = """<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>default_vm</name>
  <devices>
    <disk device="disk" type="file" model="virtio-non-transitional">
      <source file="/var/run/kubevirt/placeholder.img"></source>
      <target bus="virtio" dev="vda"></target>
      <driver error_policy="stop" name="qemu" type="raw" discard="unmap"></driver>
      <alias name="ua-root"></alias>
    </disk>
    <disk device="disk" type="file">
      <source file="/other"/><target bus="virtio" dev="vdb"/><alias name="ua-other"/>
    </disk>
    <interface type="ethernet"><alias name="ua-default"/></interface>
  </devices>
  <qemu:commandline><qemu:arg value="-msg"/></qemu:commandline>
</domain>
"""


def vmi(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "vm", "namespace": "default", "annotations": annotations},
        "spec": {
            "domain": {
                "devices": {
                    "disks": [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "other", "disk": {"bus": "virtio"}}]
                }
            },
            "volumes": [
                {"name": "root", "emptyDisk": {"capacity": "1Mi"}},
                {"name": "other", "containerDisk": {"image": "x"}},
            ],
        },
    }


MAPPED = {
    "root": {
        "portal": "[fd00::5]:3260",
        "iqn": "iqn.2026-11.io.lundock:pvc-1",
        "lun": 1,
        "chap": {"username": "pvc-1", "usage": "lundock:default:vm:root"},
    }
}


def run(document: dict[str, Any], domain: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vm_disks.hook", "--vmi", json.dumps(document), "--domain", domain]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_mapped_disk_becomes_iscsi_and_all_else_stays() -> None:
    done = run(vmi(**{hook.ANNOTATION: json.dumps(MAPPED)}), DOMAIN)

    assert (done.returncode, done.stderr) == (0, "")
    root = ET.fromstring(done.stdout)  # noqa: S314
    disk, other = root.findall("./devices/disk")
    assert disk.get("type") == "network"
    assert disk.find("source").attrib == {"protocol": "iscsi", "name": "iqn.2026-11.io.lundock:pvc-1/1"}  # type: ignore[union-attr]
    assert disk.find("source/host").attrib == {"name": "fd00::5", "port": "3260"}  # type: ignore[union-attr]
    assert disk.find("source/auth/secret").attrib == {"type": "iscsi", "usage": "lundock:default:vm:root"}  # type: ignore[union-attr]
    assert (disk.find("target").get("dev"), disk.find("alias").get("name")) == ("vda", "ua-root")  # type: ignore[union-attr]
    assert other.find("source").get("file") == "/other"  # type: ignore[union-attr]
    assert "qemu:commandline" in done.stdout
    assert root.find("./devices/interface") is not None


def test_a_second_call_on_round_tripped_xml_gives_the_same_disk() -> None:
    document = vmi(**{hook.ANNOTATION: json.dumps(MAPPED)})
    once = hook.transform(document, DOMAIN)
    # KubeVirt's own types know neither auth nor initiator within a source, and put an auth beside it.
    root = ET.fromstring(once)  # noqa: S314
    disk = root.find("./devices/disk")
    assert disk is not None
    source = disk.find("source")
    auth = disk.find("source/auth")
    assert source is not None
    assert auth is not None
    source.remove(auth)
    disk.append(auth)

    again = ET.fromstring(hook.transform(document, ET.tostring(root, encoding="unicode"))).find("./devices/disk")  # noqa: S314

    expected = ET.fromstring(once).find("./devices/disk")  # noqa: S314
    assert again is not None
    assert expected is not None
    assert [ET.tostring(child).strip() for child in again] == [ET.tostring(child).strip() for child in expected]


def test_without_an_annotation_the_domain_is_untouched() -> None:
    assert run(vmi(), DOMAIN).stdout == DOMAIN


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("{", "is not JSON"),
        ('{"root": 1}', "must map disk names"),
        ('{"root": {"portal": "1.2.3.4", "iqn": "nonsense", "lun": 1}}', "not an iSCSI name"),
        ('{"root": {"portl": "1.2.3.4"}}', "has portl"),
        (
            '{"root": {"portal": "1.2.3.4", "iqn": "iqn.2026-11.io.lundock:x", "lun": 1, "chap": {}, "password": "x"}}',
            "has password",
        ),
        (
            '{"root": {"portal": "1.2.3.4", "iqn": "iqn.2026-11.io.lundock:x", "lun": 1, "readOnly": "true"}}',
            "readOnly 'true' is not true or false",
        ),
    ],
)
def test_a_wrong_annotation_fails_the_start_with_its_reason(annotation: str, said: str) -> None:
    done = run(vmi(**{hook.ANNOTATION: annotation}), DOMAIN)

    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_annotation_of_a_disk_is_what_the_hook_reads() -> None:
    address = LunAddress(
        (Portal("fd00::5"),), "iqn.2026-11.io.lundock:pvc-1", 1, chap=ChapReference("default", "s", "pvc-1")
    )
    disk = Disk(
        DiskSpec("root", "disks[0]", ClaimSource("c")),
        "virtio",
        "vda",
        False,
        address,
        secret_usage="lundock:default:vm:root",
    )

    assert json.loads(hook.annotation([disk])) == MAPPED


def test_what_kubevirt_can_do_and_we_cannot_is_left_to_it() -> None:
    """On disks that are not mapped, and beside the disks."""
    document = vmi(**{hook.ANNOTATION: json.dumps(MAPPED)})
    document["spec"]["architecture"] = "arm64"
    document["spec"]["domain"] |= {"machine": {"type": "virt"}, "cpu": {"sockets": 2, "model": "a b"}}
    other = document["spec"]["domain"]["devices"]["disks"][1]
    other |= {"disk": {"bus": "ide"}, "cache": "new", "aFieldOfTomorrow": 1}
    document["spec"]["domain"]["devices"] |= {"interfaces": [{"name": "root"}], "blockMultiQueue": True}

    disk, untouched = ET.fromstring(hook.transform(document, DOMAIN)).findall("./devices/disk")  # noqa: S314

    assert disk.find("driver").get("queues") == "2"  # type: ignore[union-attr]
    assert untouched.find("source").get("file") == "/other"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata", []),
        ("metadata", {"annotations": 1}),
        ("metadata", {"annotations": {hook.ANNOTATION: 5}}),
        ("spec", []),
        ("spec", {"volumes": {"root": {}}, "domain": []}),
        ("spec", {"volumes": [{"name": []}], "domain": {"devices": {"disks": [{"name": {}}]}}}),
    ],
)
def test_an_odd_vmi_is_a_sentence_or_taken_as_it_is(path: str, value: object) -> None:
    document = {**vmi(**{hook.ANNOTATION: json.dumps(MAPPED)}), path: value}
    with contextlib.suppress(VmDisksError):
        assert hook.transform(document, DOMAIN) == DOMAIN


def test_a_mapped_disk_that_the_vm_lacks_is_an_error() -> None:
    with pytest.raises(SpecError, match="no disk ghost"):
        hook.transform(vmi(**{hook.ANNOTATION: json.dumps({"ghost": MAPPED["root"]})}), DOMAIN)
