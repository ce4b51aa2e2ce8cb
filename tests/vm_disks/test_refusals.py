"""What libvirt's schema takes and its driver refuses, or takes and gets wrong: seen here, and refused by us first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.capabilities import need
from tests.vm_disks import cases
from tests.vm_disks.driver import accept
from tests.vm_disks.resolution.test_claims import CLAIM, VOLUME, changed
from vm_disks import resolve, specs
from vm_disks.errors import Faults
from vm_disks.resolution.lookup import FromManifests
from vm_disks.xml import domain_xml, markup
from vm_disks.xml.markup import Element, put

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"


def render(disk: dict[str, Any] | None = None, volume: dict[str, Any] | None = None, **iscsi: Any) -> str:
    """A domain with one disk, as vm_disks makes it."""
    source = volume or {"persistentVolumeClaim": {"claimName": "disk"}}
    document = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "namespace": "vms"},
        "spec": {
            "domain": {"devices": {"disks": [{"name": "d", **(disk or {})}]}},
            "volumes": [{"name": "d", **source}],
        },
    }
    pv = changed(VOLUME, "spec.iscsi", {**VOLUME["spec"]["iscsi"], **iscsi})
    vm = specs.read(document)
    disks = [cases.with_file(disk) for disk in resolve(vm, FromManifests([CLAIM, pv], "vms"))]
    return domain_xml.render(vm, disks, cases.EMULATED)


def mangled(base: dict[str, Any], mangle: Callable[[Element], object]) -> str:
    """What vm_disks would have made, had it let the user do it."""
    root = markup.parse(render(base))
    disk = root.find("devices/disk")
    assert disk is not None
    mangle(disk)
    return markup.text(root)


def on(bus: str, name: str) -> Callable[[Element], None]:
    def move(disk: Element) -> None:
        put(disk, "target", "bus", bus)
        put(disk, "target", "dev", name)
        markup.remove(disk, "address")

    return move


def readonly(disk: Element) -> None:
    disk.append(Element("readonly"))


def serial(disk: Element) -> None:
    element = Element("serial")
    element.text = "S"
    markup.add(disk, element, after="target")


def host(disk: Element) -> Element:
    found = disk.find("source/host")
    assert found is not None
    return found


def second_host(disk: Element) -> None:
    source = disk.find("source")
    assert source is not None
    source.insert(1, Element("host", name="192.0.2.2", port="3260"))


def reservations(disk: Element) -> None:
    source = disk.find("source")
    assert source is not None
    source.append(Element("reservations", managed="yes"))


OVERLAY = {"ephemeral": {"persistentVolumeClaim": {"claimName": "disk"}}}
VIRTIO, SCSI = {"disk": {"bus": "virtio"}}, {"disk": {"bus": "scsi"}}
LUN: dict[str, Any] = {"lun": {}}

REFUSED: dict[str, tuple[dict[str, Any], Callable[[Element], object], dict[str, Any], str]] = {
    "a lun on sata": (LUN, on("sata", "sda"), {"disk": {"lun": {"bus": "sata"}}}, "lun.bus"),
    "a lun with a serial": (LUN, serial, {"disk": {"lun": {}, "serial": "S"}}, "serial"),
    "a lun that is not raw": (
        LUN,
        lambda disk: put(disk, "driver", "type", "qcow2"),
        {"disk": LUN, "volume": OVERLAY},
        "lun",
    ),
    "a read-only disk on sata": (
        {"disk": {"bus": "sata"}},
        readonly,
        {"disk": {"disk": {"bus": "sata", "readonly": True}}},
        "disk.bus",
    ),
    "a virtio cdrom": ({"cdrom": {}}, on("virtio", "vda"), {"disk": {"cdrom": {"bus": "virtio"}}}, "cdrom.bus"),
    "an I/O thread on scsi": (
        SCSI,
        lambda disk: put(disk, "driver", "iothread", "1"),
        {"disk": {**SCSI, "dedicatedIOThread": True}},
        "dedicatedIOThread",
    ),
    "io native with writethrough": (
        {**VIRTIO, "cache": "writethrough"},
        lambda disk: put(disk, "driver", "io", "native"),
        {"disk": {**VIRTIO, "cache": "writethrough", "io": "native"}},
        "io",
    ),
    "port 70000": (VIRTIO, lambda disk: host(disk).set("port", "70000"), {"targetPortal": "a:70000"}, "70000"),
}

WRONG: dict[str, tuple[Callable[[Element], object], Callable[[str], bool]]] = {
    "two hosts": (second_host, lambda argv: "192.0.2.2" not in argv),
    "transport rdma": (lambda disk: host(disk).set("transport", "rdma"), lambda argv: '"transport":"tcp"' in argv),
    "port 0": (lambda disk: host(disk).set("port", "0"), lambda argv: "192.0.2.1:3260" in argv),
    "reservations": (reservations, lambda argv: '"pr-manager":' not in argv),
}
"""The driver takes these in silence; the second says what it makes of them."""


@pytest.mark.parametrize("name", REFUSED)
def test_we_refuse_it_first_and_say_where(name: str) -> None:
    _, _, wanted, place = REFUSED[name]
    with pytest.raises(Faults) as refused:
        render(**wanted)
    (error,) = refused.value.errors
    assert place in str(error)


def test_what_would_be_taken_and_got_wrong_is_refused_or_not_written() -> None:
    with pytest.raises(Faults, match="RDMA"):
        render(iscsiInterface="iser")
    with pytest.raises(Faults, match="'0' is not a port"):
        render(targetPortal="192.0.2.1:0")
    with pytest.raises(Faults, match=r"lun\.reservation"):
        render({"lun": {"reservation": True}})
    assert render(portals=["192.0.2.2"]).count("<host ") == 1


@pytest.mark.integration
@pytest.mark.parametrize("name", REFUSED)
def test_the_schema_takes_it_and_the_driver_does_not(name: str, libvirt_driver: Any, tmp_path: Path) -> None:
    base, mangle, *_ = REFUSED[name]
    accept(libvirt_driver, render(base))
    xml = mangled(base, mangle)
    assert _schema_takes(xml, tmp_path)
    with pytest.raises(libvirt.libvirtError):
        accept(libvirt_driver, xml)


@pytest.mark.integration
@pytest.mark.parametrize("name", WRONG)
def test_the_driver_takes_it_and_gets_it_wrong(name: str, libvirt_driver: Any) -> None:
    mangle, got_wrong = WRONG[name]
    assert got_wrong(accept(libvirt_driver, mangled(VIRTIO if name != "reservations" else LUN, mangle)))


@pytest.mark.integration
def test_two_devices_of_one_name_are_refused_by_the_driver(libvirt_driver: Any) -> None:
    """Which is why specs refuse a disk and an interface of one name."""
    root = markup.parse(render(VIRTIO))
    interface = root.find("devices/interface")
    assert interface is not None
    put(interface, "alias", "name", "ua-d")
    with pytest.raises(libvirt.libvirtError, match="non unique alias"):
        accept(libvirt_driver, markup.text(root))


def _schema_takes(xml: str, directory: Path) -> bool:
    need("virt-xml-validate")
    file = directory / "domain.xml"
    file.write_text(xml)
    command = ["xmllint", "--noout", "--relaxng", SCHEMA, str(file)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
