from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import Permanent
from provisioner.planning import parameters
from provisioner.planning.parameters import KNOWN, Parameters


def test_everything_has_a_default() -> None:
    assert parameters.read("fast", {}) == Parameters()


def test_every_parameter() -> None:
    assert parameters.read(
        "fast",
        {
            "target": "zone=a,disk=ssd",
            "fsType": "xfs",
            "chap": "mutual",
            "initiators": "iqn.1993-08.org.debian:01:abc, iqn.2008-11.org.linux-kvm",
            "networks": "10.0.0.0/8,fd00::/64,192.0.2.1",
            "portal": "[fd00::1]:3260",
            "thin": "false",
            "image": "alpine",
            "imageUrls": "allow",
            "cloneInUse": "true",
            "chapSecretNamespace": "secrets",
        },
    ) == Parameters(
        target_labels={"zone": "a", "disk": "ssd"},
        fs_type="xfs",
        chap="mutual",
        initiators=("iqn.1993-08.org.debian:01:abc", "iqn.2008-11.org.linux-kvm"),
        networks=("10.0.0.0/8", "fd00::/64", "192.0.2.1"),
        portal="[fd00::1]:3260",
        thin=False,
        image="alpine",
        image_urls=True,
        clone_in_use=True,
        chap_secret_namespace="secrets",
    )


def test_an_unknown_parameter_lists_the_known_ones() -> None:
    with pytest.raises(Permanent) as caught:
        parameters.read("fast", {"fstyp": "xfs"})
    assert caught.value.code == "UnknownParameter"
    assert "'fstyp'" in caught.value.detail
    assert all(name in caught.value.detail for name in KNOWN)


@pytest.mark.parametrize("name", ["csi.storage.k8s.io/fstype", "fstype"])
def test_csi_drivers_name_for_the_file_system(name: str) -> None:
    assert parameters.read("fast", {name: "xfs"}).fs_type == "xfs"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", "A b"),
        ("target", "zone=a,b"),
        ("target", "=a"),
        ("fsType", "ntfs"),
        ("chap", "yes"),
        ("initiators", "debian"),
        ("initiators", "iqn.1993-08.org.DEBIAN:x"),
        ("networks", "10.0.0.1/8"),
        ("networks", "host"),
        ("portal", "fd00::1"),
        ("portal", "host:0"),
        ("portal", "host:70000"),
        ("portal", "host:port"),
        ("portal", "[host]:3260"),
        ("portal", "a host"),
        ("thin", "True"),
        ("image", "https://example.com/x"),
        ("imageUrls", "true"),
        ("cloneInUse", "1"),
        ("chapSecretNamespace", "Not A Namespace"),
    ],
)
def test_a_bad_value_says_which_and_what_to_do(name: str, value: str) -> None:
    with pytest.raises(Permanent) as caught:
        parameters.read("fast", {name: value})
    assert caught.value.code == "BadParameter"
    assert f"parameter {name}" in caught.value.detail
    assert repr(value) in caught.value.detail
    assert "create it again" in caught.value.detail


@pytest.mark.parametrize("name", KNOWN)
def test_the_reference_has_every_parameter(name: str) -> None:
    reference = Path(__file__).parents[3] / "docs" / "reference" / "provisioner.md"
    assert f"\n| {name} |" in reference.read_text(encoding="utf-8")
