"""--into: a given domain keeps everything but the disks that are ours."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.vm_disks import cases
from tests.vm_disks.driver import accept
from vm_disks.errors import DomainError
from vm_disks.model import Disk, VmSpec
from vm_disks.xml import domain_xml, markup

EXISTING = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- made by hand -->
  <name>mine</name>
  <memory unit='KiB'>262144</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <source file='/root.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/keep.img'/>
      <target dev='vdz' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/dev/placeholder'/>
      <target dev='sda' bus='scsi'/>
      <auth username='old'><secret type='iscsi' usage='old'/></auth>
      <alias name='ua-lun'/>
      <address type='drive' controller='0' bus='0' target='0' unit='5'/>
    </disk>
    <interface type='network'><source network='default'/></interface>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-S'/>
  </qemu:commandline>
</domain>
"""


@pytest.fixture
def vm() -> tuple[VmSpec, list[Disk]]:
    return cases.read("v1alpha1")


def test_disks_are_replaced_by_alias_or_target_or_added(vm: tuple[VmSpec, list[Disk]]) -> None:
    root = markup.parse(domain_xml.into(EXISTING, *vm))
    disks = {markup.get(disk, "target", "dev"): disk for disk in root.iterfind("devices/disk")}
    assert list(disks) == ["vda", "vdz", "sda", "sdc"]
    names = [markup.get(disk, "source", "name") or markup.get(disk, "source", "file") for disk in disks.values()]
    iqn = "iqn.2017-01.io.kubevirt:sn.42"
    assert names == [f"{iqn}/2", "/keep.img", f"{iqn}/3", f"{iqn}/5"]


def by_alias(xml: str, name: str) -> markup.Element:
    root = markup.parse(xml)
    (found,) = (disk for disk in root.iterfind("devices/disk") if markup.get(disk, "alias", "name") == f"ua-{name}")
    return found


def test_a_disk_known_by_its_alias_keeps_its_place_and_nothing_else(vm: tuple[VmSpec, list[Disk]]) -> None:
    lun = by_alias(domain_xml.into(EXISTING.replace("dev='sda'", "dev='sdq'"), *vm), "lun")
    assert markup.get(lun, "target", "dev") == "sdq"
    assert markup.get(lun, "address", "unit") == "5"
    assert markup.get(lun, "source", "name") == "iqn.2017-01.io.kubevirt:sn.42/3"
    assert lun.get("type") == "network"
    assert lun.find("auth") is None


def test_a_bus_that_cannot_work_is_not_kept(vm: tuple[VmSpec, list[Disk]]) -> None:
    lun = by_alias(domain_xml.into(EXISTING.replace("dev='sda' bus='scsi'", "dev='sda' bus='sata'"), *vm), "lun")
    assert (markup.get(lun, "target", "bus"), lun.find("address")) == ("scsi", None)


def test_a_name_that_another_disk_keeps_is_not_used_twice(vm: tuple[VmSpec, list[Disk]]) -> None:
    """The lun keeps sdc, which the CD-ROM would have had."""
    root = markup.parse(domain_xml.into(EXISTING.replace("dev='sda'", "dev='sdc'"), *vm))
    names = [markup.get(disk, "target", "dev") for disk in root.iterfind("devices/disk")]
    assert names == ["vda", "vdz", "sdc", "sda"]


def test_all_else_is_kept_and_a_second_time_changes_nothing(vm: tuple[VmSpec, list[Disk]]) -> None:
    def rest(xml: str) -> str:
        root = markup.parse(xml)
        devices = root.find("devices")
        assert devices is not None
        markup.remove(devices, "disk")
        markup.remove(devices, "controller")
        return ElementTree.canonicalize(markup.text(root), with_comments=True, strip_text=True)

    once = domain_xml.into(EXISTING, *vm)
    assert rest(once) == rest(EXISTING)
    assert "<!-- made by hand -->" in once
    assert '<qemu:arg value="-S" />' in once
    assert domain_xml.into(once, *vm) == once


def test_what_the_disks_need_is_added(vm: tuple[VmSpec, list[Disk]]) -> None:
    spec, disks = vm
    threaded = [dataclasses.replace(disks[0], io_thread=2), *disks[1:]]
    root = markup.parse(domain_xml.into(EXISTING, spec, threaded))
    assert root.findtext("iothreads") == "2"
    assert markup.get(root, "devices/controller", "model") == "virtio-non-transitional"
    few = EXISTING.replace("</vcpu>", "</vcpu><iothreads>1</iothreads>")
    assert markup.parse(domain_xml.into(few, spec, threaded)).findtext("iothreads") == "2"


def test_a_kept_bus_gets_what_it_can_have(vm: tuple[VmSpec, list[Disk]]) -> None:
    """A virtio disk that the domain has on sata: its queues and its model stay behind."""
    spec, disks = vm
    queued = [dataclasses.replace(disks[0], queues=4), *disks[1:]]
    existing = EXISTING.replace("dev='sda' bus='scsi'", "dev='sdf' bus='sata'").replace("ua-lun", "ua-mypvcdisk")
    disk = by_alias(domain_xml.into(existing, spec, queued), "mypvcdisk")
    assert (markup.get(disk, "target", "dev"), markup.get(disk, "target", "bus")) == ("sdf", "sata")
    assert markup.get(disk, "driver", "queues") is None
    assert disk.get("model") is None


@pytest.mark.integration
def test_the_driver_takes_the_result(vm: tuple[VmSpec, list[Disk]], libvirt_driver: Any) -> None:
    accept(libvirt_driver, domain_xml.into(EXISTING, *vm))


def test_a_number_that_is_none_is_refused(vm: tuple[VmSpec, list[Disk]]) -> None:
    spec, disks = vm
    threaded = [dataclasses.replace(disk, io_thread=1) for disk in disks]
    with pytest.raises(DomainError, match="<iothreads> is 'many'"):
        domain_xml.into(EXISTING.replace("</vcpu>", "</vcpu><iothreads>many</iothreads>"), spec, threaded)


@pytest.mark.parametrize("text", ["", "<a/>", "<domain/>", "<domain><devices></domain>", "<!DOCTYPE a><domain/>"])
def test_what_is_no_domain_is_refused(text: str, vm: tuple[VmSpec, list[Disk]]) -> None:
    with pytest.raises(DomainError):
        domain_xml.into(text, *vm)
