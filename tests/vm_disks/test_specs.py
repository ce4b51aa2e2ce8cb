"""Faults of a spec: each with its path, all at once; every refused field of the table is refused."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from tests.vm_disks import cases
from vm_disks import specs
from vm_disks.errors import Faults, SpecError, Unsupported
from vm_disks.model import ClaimSource, CloudInitSource, NoMedium, VmSpec
from vm_disks.specs.fields import FIELDS, Fate, Field


def instance(disk: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A VirtualMachineInstance with one disk `d`, whose volume is a claim."""
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "c"}}
    domain = spec.pop("domain", {})
    devices = {"disks": [{"name": "d", **(disk or {})}], **domain.pop("devices", {})}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm"},
        "spec": {"domain": {"devices": devices, **domain}, "volumes": spec.pop("volumes", [claim]), **spec},
    }


def faults(document: dict[str, Any]) -> list[str]:
    with pytest.raises(Faults) as refused:
        specs.read(document)
    return [str(error) for error in refused.value.errors]


DISK = "spec.domain.devices.disks[0]"


def block_size(**custom: int) -> dict[str, Any]:
    return {"blockSize": {"custom": custom}}


@pytest.mark.parametrize(
    ("disk", "fault"),
    [
        ({"cache": "directsync"}, ".cache: 'directsync' is not one of none, writethrough, writeback"),
        ({"io": "io_uring"}, ".io: 'io_uring' is not one of native, threads"),
        ({"io": "native", "cache": "writethrough"}, ".io: 'native' needs cache none, not writethrough"),
        ({"errorPolicy": "retry"}, ".errorPolicy: 'retry' is not one of stop, ignore, report, enospace"),
        ({"bootOrder": 0}, ".bootOrder: 0 is not between 1 and 2147483647"),
        ({"bootOrder": "1"}, ".bootOrder: '1' is not a whole number"),
        ({"serial": "a b"}, ".serial: 'a b' is not 1 to 256 letters, digits or any of _.+-"),
        ({"serial": "a" * 257}, f".serial: '{'a' * 257}' is not 1 to 256 letters, digits or any of _.+-"),
        ({"serial": "a", "lun": {}}, ".serial: a lun shows the serial of the LUN itself; leave it out"),
        ({"disk": {"bus": "ide"}}, ".disk.bus: 'ide': a disk can be on virtio, sata, scsi or usb"),
        ({"lun": {"bus": "sata"}}, ".lun.bus: 'sata': libvirt passes a LUN over iSCSI through on scsi only"),
        ({"lun": {"bus": "virtio"}}, ".lun.bus: 'virtio': libvirt passes a LUN over iSCSI through on scsi only"),
        ({"cdrom": {"bus": "virtio"}}, ".cdrom.bus: 'virtio': a CD-ROM can be on sata, scsi or usb"),
        ({"cdrom": {"readonly": False}}, ".cdrom.readonly: a CD-ROM is read-only"),
        ({"cdrom": {"tray": "half"}}, ".cdrom.tray: 'half' is not one of open, closed"),
        (
            {"disk": {"bus": "sata", "readonly": True}},
            ".disk.bus: 'sata': a read-only disk can't be on sata; use virtio or scsi, or make it a cdrom",
        ),
        ({"disk": {}, "lun": {}}, ": has disk and lun; a disk is one of them"),
        (
            {"disk": {"bus": "scsi"}, "dedicatedIOThread": True},
            ".dedicatedIOThread: only a virtio disk has an I/O thread, not scsi",
        ),
        (
            {"disk": {"pciAddress": "0000:81:01.0"}},
            ".disk.pciAddress: '0000:81:01.0' is not from 0000:00:03.0 to 0000:00:1e.0, "
            "the slots that q35 and pc have free",
        ),
        (
            {"disk": {"bus": "virtio", "rotationRate": 1}},
            ".disk.rotationRate: only a sata or scsi disk has a rotation rate, not virtio",
        ),
        ({"disk": {"rotationRate": 7}}, ".disk.rotationRate: 7 is neither 1 (an SSD) nor 1025 to 65534"),
        (
            {"lun": {}, **block_size(logical=512, physical=512)},
            ".blockSize: a lun shows the block sizes of the LUN itself; leave it out",
        ),
        (
            {"disk": {"bus": "sata"}, **block_size(logical=4096, physical=4096)},
            ".blockSize.custom.logical: on sata QEMU has blocks of 512 bytes, not 4096; use scsi or virtio",
        ),
        ({"shareable": True, "cache": "writeback"}, ".cache: 'writeback': a shareable disk has cache none"),
        ({"shareable": True, "lun": {}}, ".shareable: only a disk can be shareable, not a lun"),
        ({"shareable": "yes"}, ".shareable: 'yes' is not true or false"),
        (
            block_size(logical=513, physical=4096),
            ".blockSize.custom.logical: 513 is not a power of two",
        ),
        (
            block_size(logical=4096, physical=512),
            ".blockSize.custom.logical: 4096 is larger than the physical size, 512",
        ),
        (block_size(logical=512), ".blockSize.custom.physical: is missing"),
        (
            block_size(logical=256, physical=512),
            ".blockSize.custom.logical: 256 is not between 512 and 2097152",
        ),
        (
            {"lun": {"reservation": True}},
            ".lun.reservation: libvirt accepts it on an iSCSI disk and does nothing; a lun passes the guest's own",
        ),
        ({"chache": "none"}, ".chache: no such field"),
        ({"volumeName": "d"}, ".volumeName: no such field"),
    ],
)
def test_a_disk_that_cannot_be_is_refused_with_its_path(disk: dict[str, Any], fault: str) -> None:
    assert faults(instance(disk)) == [f"{DISK}{fault}"]


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"volumes": []}, f"{DISK}.name: no volume is named 'd'"),
        ({"volumes": [{"name": "d"}]}, "spec.volumes[0]: must have one source, not 0"),
        (
            {"volumes": [{"name": "d", "emptyDisk": {"capacity": "1Gi"}, "dataVolume": {"name": "x"}}]},
            "spec.volumes[0]: must have one source, not 2: emptyDisk, dataVolume",
        ),
        (
            {"volumes": [{"name": "d", "emptyDisk": {"capacity": "much"}}]},
            "spec.volumes[0].emptyDisk.capacity: 'much' is not a quantity such as 512Mi, 1G or 2",
        ),
        (
            {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "C"}}]},
            "spec.volumes[0].persistentVolumeClaim.claimName: "
            "'C' is not a Kubernetes name (lower-case letters, digits, '-' and '.')",
        ),
        (
            {"volumes": [{"name": "d", "cloudInitNoCloud": {}}]},
            "spec.volumes[0].cloudInitNoCloud: has neither userData nor networkData",
        ),
        (
            {"volumes": [{"name": "d", "cloudInitNoCloud": {"userData": "a", "secretRef": {"name": "b"}}}]},
            "spec.volumes[0].cloudInitNoCloud: has userData and secretRef; give one",
        ),
        (
            {"volumes": [{"name": "d", "cloudInitNoCloud": {"userDataBase64": "*"}}]},
            "spec.volumes[0].cloudInitNoCloud.userDataBase64: is not base64",
        ),
        ({"domain": {"memory": {"guest": "0"}}}, "spec.domain.memory.guest: 0 is not between 1 and 8Ei"),
        (
            {"domain": {"machine": {"type": "virt"}}},
            "spec.domain.machine.type: 'virt' is not pc, q35 or a version of these",
        ),
        (
            {"domain": {"machine": {"type": "pc"}, "firmware": {"bootloader": {"efi": {}}}}},
            "spec.domain.firmware.bootloader.efi.secureBoot: is true (as when absent), which needs q35, not pc",
        ),
        (
            {"domain": {"firmware": {"bootloader": {"efi": {}, "bios": {}}}}},
            "spec.domain.firmware.bootloader: has bios and efi; give one",
        ),
        ({"domain": {"cpu": {"cores": 256}}}, "spec.domain.cpu.cores: 256 is not between 1 and 255"),
        ({"domain": {"cpu": {"cores": 64, "threads": 4}}}, "spec.domain.cpu: 256 vCPUs are more than 255"),
        ({"architecture": "arm64"}, "spec.architecture: 'arm64' is not one of amd64"),
        (
            {"domain": {"clock": {"timezone": "../etc"}}},
            "spec.domain.clock.timezone: '../etc' is not a time zone such as Europe/Berlin",
        ),
        (
            {"domain": {"devices": {"interfaces": [{"name": "a", "macAddress": "01:00:00:00:00:01"}]}}},
            "spec.domain.devices.interfaces[0].macAddress: 01:00:00:00:00:01 is a multicast address",
        ),
        (
            {"domain": {"devices": {"interfaces": [{"name": "a"}, {"name": "a"}]}}},
            "spec.domain.devices.interfaces[1].name: another interface is named 'a'",
        ),
        (
            {"domain": {"devices": {"interfaces": [{"name": "d"}]}}},
            "spec.domain.devices.interfaces[0].name: a disk is named 'd' too, and libvirt tells devices apart by name; "
            "rename one",
        ),
        (
            {"hostname": "a.b"},
            "spec.hostname: 'a.b' is not a name of at most 63 lower-case letters, digits and '-'",
        ),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_its_path(spec: dict[str, Any], fault: str) -> None:
    assert faults(instance(**spec)) == [fault]


def test_cloud_init_data_may_be_any_bytes() -> None:
    packed = gzip.compress(b"#cloud-config\n")
    data = {"userDataBase64": base64.b64encode(packed).decode(), "networkData": "version: 2"}
    vm = specs.read(instance(volumes=[{"name": "d", "cloudInitNoCloud": data}]))
    assert vm.disks[0].source == CloudInitSource("NoCloud", packed, b"version: 2")


def test_all_faults_are_reported_at_once_in_one_error() -> None:
    document = instance({"cache": "x", "serial": "a b", "lun": {"bus": "usb"}}, domain={"memory": {"guest": []}})
    del document["metadata"]["name"]
    assert len(faults(document)) == 5
    with pytest.raises(Faults, match=r"(?s)VirtualMachineInstance default/: 5 errors\n  .*\n  .*\n  .*\n  .*\n  "):
        specs.read(document)


def test_a_boot_order_is_used_once_over_disks_and_interfaces() -> None:
    interfaces = [{"name": "net", "bootOrder": 1, "masquerade": {}}]
    found = faults(instance({"bootOrder": 1}, domain={"devices": {"interfaces": interfaces}}))
    assert found == ["spec.domain.devices.interfaces[0].bootOrder: 1 is used twice"]


def test_two_disks_of_one_name_are_refused() -> None:
    document = instance()
    document["spec"]["domain"]["devices"]["disks"] *= 2
    path = "spec.domain.devices.disks[1]"
    assert faults(document) == [
        f"{path}.name: another disk is named 'd'",
        f"{path}: another disk already has the volume 'd'",
    ]


def test_two_disks_in_one_pci_slot_are_refused() -> None:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("a", "b")]
    document = instance(volumes=volumes)
    place = {"disk": {"pciAddress": "0000:00:03.0"}}
    document["spec"]["domain"]["devices"]["disks"] = [{"name": "a", **place}, {"name": "b", **place}]
    assert faults(document) == [
        f"spec.domain.devices.disks[{index}].disk.pciAddress: 0000:00:03.0 is used twice" for index in (0, 1)
    ]


def test_a_cdrom_needs_no_volume_and_nothing_else_does_without() -> None:
    (disk,) = specs.read(instance({"cdrom": {}}, volumes=[])).disks
    assert (disk.source, disk.read_only) == (NoMedium(), True)


def place(field: Field, value: object) -> dict[str, Any]:
    """A spec that has this field of the table, and nothing else that is wrong."""
    volume = field.path.startswith("volumes[]")
    document = instance({"disk": None}, volumes=[{"name": "d"}]) if volume else instance()
    here: Any = document["spec"]
    *steps, last = field.path.split(".")
    for step in steps:
        name, listed, _ = step.partition("[")
        here = here.setdefault(name, [{}])[0] if listed else here.setdefault(name, {})
    here[last.removesuffix("[]")] = value
    return document


def fields(*fates: Fate) -> list[Field]:
    return [field for field in FIELDS.values() if field.fate in fates]


@pytest.mark.parametrize("field", fields(Fate.REFUSED, Fate.UNSUPPORTED), ids=lambda field: field.path)
def test_every_refused_field_is_refused_at_its_path(field: Field) -> None:
    with pytest.raises(Faults) as refused:
        specs.read(place(field, {}))
    kind = Unsupported if field.fate is Fate.UNSUPPORTED else SpecError
    path = "spec." + field.path.replace("[]", "[0]")
    assert path in [error.path for error in refused.value.errors if type(error) is kind]


@pytest.mark.parametrize("field", fields(Fate.IGNORED), ids=lambda field: field.path)
def test_every_ignored_field_is_a_warning_at_its_path(field: Field) -> None:
    warnings = specs.read(place(field, {})).ignored
    assert f"spec.{field.path}: {field.note}" in warnings


def test_what_is_the_clusters_is_taken_in_silence() -> None:
    assert specs.read(instance(nodeSelector={"a": "b"}, tolerations=[])).ignored == ()


def test_an_unknown_field_beside_the_disks_is_a_warning() -> None:
    assert specs.read(instance(brandNew=1)).ignored == ("spec.brandNew: not known here",)


def test_unsupported_volumes_are_left_out_when_asked() -> None:
    document = instance()
    document["spec"]["domain"]["devices"]["disks"].append({"name": "x"})
    document["spec"]["volumes"].append({"name": "x", "containerDisk": {"image": "i"}})
    fault = "spec.volumes[1].containerDisk: not supported: a disk in a container image needs a container runtime"
    assert faults(document) == [fault]
    vm = specs.read(document, skip_unsupported=True)
    assert [disk.name for disk in vm.disks] == ["d"]
    document["spec"]["domain"]["devices"]["disks"][1]["lun"] = {"bus": "sata"}
    assert len(faults(document)) == 2
    assert vm.ignored == (f"{fault} (left out)",)


def test_what_is_no_vm_is_refused_with_what_could_be() -> None:
    assert not specs.is_vm({"apiVersion": "v1", "kind": "Pod"})
    with pytest.raises(Faults, match=r"not a VM that can be read; those are: .*VirtualMachine \(kubevirt.io/v1\)"):
        specs.read({"apiVersion": "v1", "kind": "Pod"})


def golden(case: str) -> VmSpec:
    return specs.read(cases.load(case)[0])


def test_the_forms_of_eight_years_say_the_same() -> None:
    sources = {case: golden(case).disks[0].source for case in ("claim-form", "v1alpha1", "v1alpha2")}
    assert len(set(sources.values())) == 1


def test_two_disks_of_one_device_name_are_refused() -> None:
    """v1alpha1 could name devices; libvirt refuses a name that is used twice."""
    document = cases.load("v1alpha1")[0]
    document["spec"]["domain"]["devices"]["disks"][2]["cdrom"]["dev"] = "sda"
    assert faults(document) == [
        "spec.domain.devices.disks[1].lun.dev: sda is used twice",
        "spec.domain.devices.disks[2].cdrom.dev: sda is used twice",
    ]


@pytest.mark.parametrize("namespace", ["../../etc", "a.b", "", "A"])
def test_a_namespace_that_is_none_is_refused(namespace: str) -> None:
    """It is part of a path: the VM's own files lie in a directory of its name."""
    with pytest.raises(Faults, match=r"namespace \(-n\): "):
        specs.read(instance(), namespace=namespace)
    inside = instance()
    inside["metadata"]["namespace"] = namespace or 1
    assert faults(inside)[0].startswith("metadata.namespace: ")


@pytest.mark.parametrize(("version", "kind"), specs.READERS)
def test_every_kind_is_read(version: str, kind: str) -> None:
    path, _ = specs.READERS[version, kind]
    document: dict[str, Any] = {"apiVersion": version, "kind": kind, "metadata": {"name": "vm"}}
    here = document
    for step in path.split("."):
        here[step] = here = {}
    here |= instance()["spec"]
    here["domain"]["devices"]["disks"][0]["volumeName"] = "d"
    if version not in ("kubevirt.io/v1alpha1", "kubevirt.io/v1alpha2"):
        del here["domain"]["devices"]["disks"][0]["volumeName"]
    (disk,) = specs.read(document).disks
    assert (disk.source, disk.path) == (ClaimSource("c"), f"{path}.domain.devices.disks[0]")


def test_the_claim_form_has_its_own_faults() -> None:
    disk = {"type": "PersistentVolumeClaim", "device": "floppy", "source": {}, "target": {"dev": "hda"}, "extra": 1}
    document = {
        "apiVersion": "kubevirt.io/v1alpha1",
        "kind": "VM",
        "metadata": {"name": "vm"},
        "spec": {"domain": {"devices": {"disks": [disk, {"type": "file"}]}, "memory": {"value": 1, "unit": "MB"}}},
    }
    path = "spec.domain.devices.disks"
    assert faults(document) == [
        f"{path}[0].extra: no such field",
        f"{path}[0].device: 'floppy' is not one of disk, lun, cdrom",
        f"{path}[0].target.dev: 'hda' is not a device name that a LUN can have (vda, sda, …)",
        f"{path}[0].source.name: is missing",
        f"{path}[1].type: not supported: 'file'; only PersistentVolumeClaim is a claim",
    ]


def test_memory_and_cpus_come_from_where_kubevirt_takes_them() -> None:
    def sizes(**domain: Any) -> tuple[int, int]:
        vm = specs.read(instance(domain=domain))
        return vm.memory_bytes, vm.cpus

    both = {"requests": {"memory": "1k", "cpu": "4"}, "limits": {"memory": "1M", "cpu": "4500m"}}
    assert sizes() == (512 * 1024 * 1024, 1)
    assert sizes(resources=both) == (10**6, 5), "the limits first, as KubeVirt's converter has it"
    assert sizes(resources={"requests": both["requests"]}) == (1000, 4)
    assert sizes(resources=both, memory={"guest": "1Ki"}, cpu={"cores": 3, "threads": 2}) == (1024, 6)


def test_what_stands_beside_the_template_and_is_not_read_is_a_warning() -> None:
    template = {"spec": instance()["spec"]}
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm"},
        "spec": {"instancetype": {"name": "u1.small"}, "template": template},
    }
    (warning,) = specs.read(vm).ignored
    assert warning.startswith("spec.instancetype: not read; cpu and memory are the domain's own")


def test_a_name_that_no_file_could_have_is_refused() -> None:
    document = instance()
    document["metadata"]["name"] = "a" * 200
    assert faults(document) == ["metadata.name: is longer than 200 characters, with the namespace"]
