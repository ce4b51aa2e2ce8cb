"""The local files of a VM."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lundock_common.portal import Portal
from tests.capabilities import need
from tests.vm_disks_runtime.target import Lun, Target
from vm_disks.errors import SpecError, ToolError
from vm_disks.model import CloudInitSource, VmSpec
from vm_disks.resolution.address import LunAddress
from vm_disks.resolution.chap import Credentials
from vm_disks.resolution.lookup import FromManifests
from vm_disks.runtime import media, tools

VM = VmSpec("vm", "team", ())


def secret(**data: str) -> dict[str, object]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "seed", "namespace": "team"}, "data": encoded}


def test_no_cloud() -> None:
    seed = CloudInitSource("NoCloud", b"#cloud-config\n", b"version: 2\n")
    files = media.seed_files(seed, VM, "volumes[0]", FromManifests([], "team"))
    assert files["user-data"] == b"#cloud-config\n"
    assert files["network-config"] == b"version: 2\n"
    assert json.loads(files["meta-data"]) == {"instance-id": "vm.team", "local-hostname": "vm"}


@pytest.mark.parametrize(
    ("name", "hostname", "told"),
    [("vm", None, "vm"), ("vm.example.com", None, "vm"), ("vm", "web", "web"), ("a" * 70, None, "a" * 63)],
)
def test_the_guest_is_told_kubevirts_host_name(name: str, hostname: str | None, told: str) -> None:
    vm = VmSpec(name, "team", (), hostname=hostname)
    lookup = FromManifests([], "team")
    no_cloud = media.seed_files(CloudInitSource("NoCloud", b"#"), vm, "volumes[0]", lookup)
    drive = media.seed_files(CloudInitSource("ConfigDrive", b"#"), vm, "volumes[0]", lookup)
    assert json.loads(no_cloud["meta-data"])["local-hostname"] == told
    drive_data = json.loads(drive["openstack/latest/meta_data.json"])
    assert (drive_data["hostname"], drive_data["local_hostname"]) == (told, told)


def test_config_drive_from_a_secret() -> None:
    seed = CloudInitSource("ConfigDrive", user_data_secret="seed", network_data_secret="seed")
    lookup = FromManifests([secret(userData="u", networkdata="n")], "team")
    files = media.seed_files(seed, VM, "volumes[0]", lookup)
    assert files["openstack/latest/user_data"] == b"u"
    assert files["openstack/latest/network_data.json"] == b"n"
    assert json.loads(files["openstack/latest/meta_data.json"])["hostname"] == "vm"


@pytest.mark.parametrize(
    ("objects", "said"), [([], "there is no Secret team/seed"), ([secret(other="x")], "no key userdata")]
)
def test_a_seed_without_its_secret(objects: list[dict[str, object]], said: str) -> None:
    seed = CloudInitSource("NoCloud", user_data_secret="seed")
    with pytest.raises(SpecError, match=said):
        media.seed_files(seed, VM, "volumes[0]", FromManifests(objects, "team"))


def test_a_seed_that_is_not_base64() -> None:
    seed = CloudInitSource("NoCloud", user_data_secret="seed")
    broken = {**secret(), "data": {"userdata": "not base64"}}
    with pytest.raises(SpecError, match="key userdata is not base64"):
        media.seed_files(seed, VM, "volumes[0]", FromManifests([broken], "team"))


def test_a_seed_that_gzip_packed() -> None:
    packed = gzip.compress(b"#cloud-config\n")
    encoded = base64.b64encode(packed).decode()
    kept = {**secret(), "data": {"userdata": encoded}}
    seed = CloudInitSource("NoCloud", user_data_secret="seed")
    assert media.seed_files(seed, VM, "volumes[0]", FromManifests([kept], "team"))["user-data"] == packed


@pytest.mark.integration
def test_an_iso_has_its_label_and_files(tmp_path: Path) -> None:
    need("xorriso")
    iso = tmp_path / "seed.iso"
    tools.make_iso(iso, "cidata", {"user-data": b"hello", "a/b": b"deep"})
    listed = subprocess.run(
        ["xorriso", "-indev", iso, "-pvd_info", "-find"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "cidata" in listed.stdout
    assert "'./user-data'" in listed.stdout
    assert "'./a/b'" in listed.stdout
    assert iso.stat().st_mode & 0o077 == 0, "a seed may hold passwords"


@pytest.mark.integration
def test_capacity_is_the_luns_own(target: Target, lun: Callable[..., Lun]) -> None:
    need("qemu-img", "qemu-iscsi")
    disk = lun(5 * 1024 * 1024, chap=True)
    assert disk.user
    assert disk.password
    address = LunAddress((Portal("127.0.0.1", target.port),), disk.iqn, 1)

    assert tools.capacity_bytes(address, Credentials(disk.user, disk.password)) == 5 * 1024 * 1024
    with pytest.raises(ToolError) as refused:
        tools.capacity_bytes(address, Credentials(disk.user, "not-the-password"))
    assert "log in to LUN 1" in str(refused.value)
    assert "not-the-password" not in str(refused.value)


def test_a_missing_tool_names_its_package() -> None:
    with pytest.raises(ToolError, match="no-such-tool is not installed"):
        tools.run(["no-such-tool"], attempt="try")
