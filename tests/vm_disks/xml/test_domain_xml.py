"""What a golden can't say about a domain: names, UUIDs, networks."""

from __future__ import annotations

import uuid

import pytest

from vm_disks.errors import DomainError
from vm_disks.model import ClaimSource, Disk, DiskSpec, EmptyDiskSource, NoMedium, VmSpec
from vm_disks.xml import domain_xml, markup
from vm_disks.xml.domain_xml import DomainOptions

VM = VmSpec("vm", "ns", ())


def test_the_name_is_kubevirts_and_the_uuid_follows_from_it() -> None:
    assert domain_xml.name(VM) == "ns_vm"
    assert uuid.UUID(domain_xml.uuid(VM)).version == 5
    assert domain_xml.uuid(VM) == domain_xml.uuid(VmSpec("vm", "ns", (), cpu_cores=9))
    assert domain_xml.uuid(VM) != domain_xml.uuid(VmSpec("vm", "other", ()))
    assert domain_xml.uuid(VmSpec("vm", "ns", (), firmware_uuid="given")) == "given"


def test_what_xml_cannot_carry_is_refused() -> None:
    disk = Disk(DiskSpec("d", "path", NoMedium(), serial="\x00"), "virtio", "vda", False)
    with pytest.raises(DomainError, match=r"<disk> serial: '\\x00' has characters that XML cannot carry"):
        domain_xml.render(VM, [disk])


def test_the_spec_and_the_machine_must_both_want_graphics() -> None:
    def graphics(vm: VmSpec, vnc: bool) -> bool:
        return "<graphics" in domain_xml.render(vm, [], DomainOptions(vnc=vnc))

    without = VmSpec("vm", "ns", (), graphics=False)
    assert [graphics(VM, True), graphics(VM, False), graphics(without, True)] == [True, False, False]


@pytest.mark.parametrize("network", ["", "bridge:", "bridge:a b", "bridge:a-name-that-is-long", "macvtap", "user:x"])
def test_a_network_that_cannot_be_is_refused(network: str) -> None:
    with pytest.raises(DomainError, match="--network"):
        DomainOptions(network=network)


def test_each_network_gives_its_interface() -> None:
    def kind(network: str) -> str | None:
        root = markup.parse(domain_xml.render(VM, [], DomainOptions(network=network)))
        interface = root.find("devices/interface")
        return None if interface is None else interface.get("type")

    assert [kind(network) for network in ("user", "bridge:br0", "none")] == ["user", "bridge", None]


def test_q35_has_ports_for_its_devices_and_four_to_spare() -> None:
    def ports(vm: VmSpec, disks: int) -> int:
        listed = [Disk(DiskSpec(f"d{i}", "path", NoMedium()), "virtio", f"vd{i}", False) for i in range(disks)]
        root = markup.parse(domain_xml.render(vm, listed))
        return sum(one.get("model") == "pcie-root-port" for one in root.iterfind("devices/controller"))

    usb_balloon_rng_interface = 4
    assert ports(VM, 0) == usb_balloon_rng_interface + domain_xml.SPARE_ROOT_PORTS
    assert ports(VM, 9) == 9 + ports(VM, 0)
    assert ports(VmSpec("vm", "ns", (), machine="pc"), 9) == 0


@pytest.mark.parametrize("source", [EmptyDiskSource(1), ClaimSource("c", overlay=True)])
def test_a_disk_whose_file_is_not_made_is_refused(source: EmptyDiskSource | ClaimSource) -> None:
    disk = Disk(DiskSpec("d", "spec.volumes[0]", source), "virtio", "vda", False)
    with pytest.raises(DomainError, match=r"spec.volumes\[0\]: disk 'd' is a local file"):
        domain_xml.render(VM, [disk])
