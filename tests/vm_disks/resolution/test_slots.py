from vm_disks.model import BlockSize, ClaimSource, DiskSpec
from vm_disks.resolution import slots


def disk(**fields: object) -> DiskSpec:
    return DiskSpec("d", "spec", ClaimSource("claim"), **fields)  # type: ignore[arg-type]


def test_after_z_come_two_letters() -> None:
    names = [slots.device_name("sd", index) for index in (0, 25, 26, 27, 51, 52, 701, 702)]
    assert names == ["sda", "sdz", "sdaa", "sdab", "sdaz", "sdba", "sdzz", "sdaaa"]


def test_sata_scsi_and_usb_share_names_and_virtio_has_its_own() -> None:
    assert slots.targets([(disk(), "sata"), (disk(), "virtio"), (disk(), "scsi"), (disk(), "usb")]) == [
        "sda",
        "vda",
        "sdb",
        "sdc",
    ]


def test_a_name_that_the_spec_asks_for_is_left_free() -> None:
    assert slots.targets([(disk(), "virtio"), (disk(target="vda"), "virtio")]) == ["vdb", "vda"]


def test_the_default_bus_is_kubevirts_where_that_can_work() -> None:
    assert slots.default_bus(disk()) == "sata"
    assert slots.default_bus(disk(device="cdrom", read_only=True)) == "sata"
    assert slots.default_bus(disk(device="lun")) == "scsi"
    assert slots.default_bus(disk(read_only=True)) == "virtio"
    assert slots.default_bus(disk(read_only=True, rotation_rate=1)) == "scsi"
    assert slots.default_bus(disk(dedicated_io_thread=True)) == "virtio"
    assert slots.default_bus(disk(block_size=BlockSize(512, 4096))) == "sata"
    assert slots.default_bus(disk(block_size=BlockSize(4096, 4096))) == "virtio"
