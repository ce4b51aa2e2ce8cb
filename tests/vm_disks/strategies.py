"""VM specs for hypothesis: from plausible, right and wrong, to anything at all in any place."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from tests.vm_disks import cases

CLAIMS = ("disk-alpine", "disk-cirros", "provisioned", "foreign", "read-only-pv", "read-only-claim", "missing")

BUSES = st.sampled_from(("virtio", "sata", "scsi", "usb", "ide"))
FLAGS = st.booleans()
PCI_ADDRESSES = st.sampled_from(("0000:00:03.0", "0000:00:1e.0", "0000:00:11.0", "0000:81:01.0"))


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


DEVICES = st.one_of(
    st.fixed_dictionaries(
        {
            "disk": maybe(
                bus=BUSES,
                readonly=FLAGS,
                pciAddress=PCI_ADDRESSES,
                rotationRate=st.sampled_from((1, 2, 7200)),
            )
        }
    ),
    st.fixed_dictionaries({"lun": maybe(bus=st.sampled_from(("scsi", "sata")), readonly=FLAGS)}),
    st.fixed_dictionaries({"cdrom": maybe(bus=BUSES, tray=st.sampled_from(("open", "closed")))}),
    st.just({}),
)
BLOCK_SIZES = st.sampled_from((512, 1024, 4096, 65536, 2 * 1024 * 1024))
DISK_FIELDS = maybe(
    bootOrder=st.integers(1, 5),
    serial=st.text("abcXYZ019_.+-", min_size=1, max_size=40),
    dedicatedIOThread=FLAGS,
    cache=st.sampled_from(("none", "writethrough", "writeback")),
    io=st.sampled_from(("native", "threads")),
    blockSize=st.fixed_dictionaries(
        {"custom": st.fixed_dictionaries({"logical": BLOCK_SIZES, "physical": BLOCK_SIZES})}
    ),
    shareable=FLAGS,
    errorPolicy=st.sampled_from(("stop", "ignore", "report", "enospace")),
)
SOURCES = st.one_of(
    st.fixed_dictionaries(
        {
            "persistentVolumeClaim": st.fixed_dictionaries(
                {"claimName": st.sampled_from(CLAIMS)}, optional={"readOnly": FLAGS, "hotpluggable": FLAGS}
            )
        }
    ),
    st.fixed_dictionaries({"dataVolume": st.fixed_dictionaries({"name": st.sampled_from(CLAIMS)})}),
    st.fixed_dictionaries(
        {"ephemeral": st.fixed_dictionaries({"persistentVolumeClaim": st.just({"claimName": "provisioned"})})}
    ),
    st.just({"emptyDisk": {"capacity": "1Gi"}}),
    st.just({"cloudInitNoCloud": {"userData": "#cloud-config"}}),
)
MODELS = st.sampled_from(("virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet"))
DOMAINS = maybe(
    cpu=maybe(
        cores=st.integers(1, 9),
        sockets=st.integers(1, 3),
        threads=st.integers(1, 3),
        model=st.sampled_from(("Nehalem",)),
    ),
    memory=st.fixed_dictionaries({"guest": st.sampled_from(("1", "64Mi", "3G", "1000001", "1.5Gi"))}),
    machine=st.fixed_dictionaries({"type": st.sampled_from(("", "pc", "q35", "pc-q35-7.2"))}),
    firmware=st.fixed_dictionaries(
        {"bootloader": st.sampled_from(({"bios": {}}, {"efi": {"secureBoot": False}}, {"efi": {}}))}
    ),
)
DEVICE_FIELDS = maybe(
    blockMultiQueue=FLAGS,
    useVirtioTransitional=FLAGS,
    autoattachGraphicsDevice=FLAGS,
    autoattachSerialConsole=FLAGS,
    interfaces=st.lists(
        st.fixed_dictionaries({"model": MODELS}, optional={"bootOrder": st.integers(1, 5)}), max_size=2
    ).map(lambda items: [{"name": f"net{index}", "masquerade": {}, **item} for index, item in enumerate(items)]),
)


@st.composite
def plausible(draw: st.DrawFn) -> dict[str, Any]:
    """Most are right, or wrong in one way that KubeVirt or libvirt has a rule for."""
    volumes = [{"name": f"v{i}", **draw(SOURCES)} for i in range(draw(st.integers(0, 4)))]
    disks = [{"name": volume["name"], **draw(DEVICES), **draw(DISK_FIELDS)} for volume in volumes if draw(FLAGS)]
    devices = {**draw(DEVICE_FIELDS), "disks": disks}
    spec = {"domain": {**draw(DOMAINS), "devices": devices}, "volumes": volumes}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}, "spec": spec}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a document with every key in it."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def damaged_vms() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(cases.CASES).flatmap(lambda case: damaged(cases.load(case)[0]))


@st.composite
def damaged(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with anything at all in one to three of its places, or a key that nobody knows."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = [(place, key) for place, key in _places(document) if key not in ("apiVersion", "kind")]
        container, key = draw(st.sampled_from(places))
        if isinstance(container, dict) and draw(FLAGS):
            container[draw(st.text(max_size=10) | st.integers())] = draw(ANYTHING)
        else:
            container[key] = draw(ANYTHING)
    return document
