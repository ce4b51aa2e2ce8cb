"""What the environment asks of the demo target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lundock_common.portal import Portal
from lundock_common.quantity import GIB, MIB
from target_image.agent.demo.plan import Plan, plan
from target_image.agent.errors import SettingsError
from target_image.agent.images import catalogue, qcow2
from tests.capabilities import need

KNOWN = catalogue.load(architecture="amd64")
DIGEST = "sha256:" + "a" * 64


def planned(**environ: str) -> Plan:
    return plan(environ, KNOWN)


def luns(plan: Plan) -> dict[int, str]:
    return {lun.lun: lun.name for lun in plan.luns}


def test_the_target_of_2017() -> None:
    found = planned()
    assert found.iqn == "iqn.2017-01.io.kubevirt:sn.42"
    assert luns(found) == {1: "empty", 2: "alpine", 3: "cirros", 4: "demo"}
    assert found.luns[0].size_bytes == GIB
    assert (found.chap, found.warnings, found.portal) == (None, (), None)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1G", GIB),
        ("1Gi", GIB),
        ("1GiB", GIB),
        ("512M", GIB // 2),
        ("512m", GIB // 2),
        ("2T", 2048 * GIB),
        ("1GB", 10**9),
        ("1048576", MIB),
        (" 10K ", 10240),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert planned(SIZE=text).luns[0].size_bytes == size_bytes


@pytest.mark.parametrize("text", ["0", "-1G", "1.5G", "big", "1X", "G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(SettingsError, match=f"SIZE='{text}'"):
        planned(SIZE=text)


def test_images_by_name_and_url() -> None:
    url = f"https://x.example.org/a.iso#{DIGEST}"
    found = planned(IMAGES=f"cirros,{url} alpine")
    name = "image-" + "a" * 12
    assert luns(found) == {1: "empty", 2: "cirros", 3: name, 4: "demo", 5: "alpine"}
    assert found.added_images[name].urls == ["https://x.example.org/a.iso"]


def test_no_images() -> None:
    assert luns(planned(IMAGES="")) == {1: "empty", 4: "demo"}


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'debian': give names of the catalogue \\(alpine, cirros, demo\\)"):
        planned(IMAGES="debian")


def test_an_image_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        planned(IMAGES="alpine alpine")


def test_the_default_starts_on_a_machine_that_an_image_is_not_built_for() -> None:
    found = plan({}, catalogue.load(architecture="arm64"))
    assert luns(found) == {1: "empty", 2: "alpine", 3: "cirros", 4: "demo"}
    assert found.luns[1].image == "demo"
    assert "alpine" in found.warnings[0]


def test_chap_takes_the_short_passwords_of_2017_and_says_so() -> None:
    found = planned(USERNAME="demo", PASSWORD="secret")
    assert found.chap is not None
    assert found.chap.password.get_secret_value() == "secret"
    assert "shorter than 12" in found.warnings[0]
    assert "secret" not in repr(found)


def test_a_long_password_is_taken_in_silence(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("twelve-characters\n")
    for environ in ({"PASSWORD": "twelve-characters"}, {"PASSWORD_FILE": str(tmp_path / "password")}):
        found = planned(USERNAME="demo", **environ)
        assert found.chap is not None
        assert found.chap.password.get_secret_value() == "twelve-characters"
        assert found.warnings == ()


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"USERNAME": "demo"}, "go together"),
        ({"PASSWORD": "secret"}, "go together"),
        ({"USERNAME": "a b", "PASSWORD": "x" * 12}, "no CHAP name"),
        ({"USERNAME": "demo", "PASSWORD_FILE": "/does/not/exist"}, "PASSWORD_FILE=/does/not/exist cannot be read"),
        ({"IQN": "iqn.2017-01.io_kubevirt"}, "no iSCSI name"),
        ({"IQN": "target"}, "no iSCSI name"),
        ({"PORTAL": "host:port"}, "PORTAL='host:port'"),
        ({"EXPORT_HOST_PATHS": "relative.img"}, "absolute"),
        ({"EXPORT_HOST_PATHS": "/does/not/exist"}, "cannot be opened"),
        ({"EXPORT_HOST_PATHS": "/does/not/*.img"}, "nothing in the container"),
        ({"EXPORT_HOST_PATHS": "/dev/null"}, "less than one sector"),
        ({"EXPORT_HOST_PATHS": "/etc"}, "cannot be opened"),
    ],
)
def test_mistakes_name_the_variable(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        planned(**environ)


def test_host_files_are_luns_from_five_up(tmp_path: Path) -> None:
    for name in ("a.img", "b.img", "c.raw"):
        (tmp_path / name).write_bytes(bytes(1024))
    found = planned(EXPORT_HOST_PATHS=f"{tmp_path}/*.img {tmp_path}/c.raw", IMAGES="alpine cirros demo")
    assert luns(found) == {
        1: "empty", 2: "alpine", 3: "cirros", 4: "demo", 5: "host-5", 6: "host-6", 7: "host-7", 8: "demo-again",
    }  # fmt: skip
    files = [lun.host_file for lun in found.luns if lun.host_file is not None]
    assert [file.path.name for file in files] == ["a.img", "b.img", "c.raw"]
    assert not any(file.read_only for file in files)


@pytest.mark.parametrize("name", ["a,b.img", "a=b.img"])
def test_a_name_that_tgt_would_cut_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(1024))
    with pytest.raises(SettingsError, match="rename it"):
        planned(EXPORT_HOST_PATHS=f"{tmp_path}/*.img")


@contextmanager
def as_the_containers_user() -> Iterator[None]:
    """Root may write anything, so somebody else has to look."""
    os.setresuid(65532, 65532, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_read_only_file_is_said_to_be_so() -> None:
    need("root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "a.img")
        file.write_bytes(bytes(1024))
        file.chmod(0o444)
        with as_the_containers_user():
            found = planned(EXPORT_HOST_PATHS=str(file))
    assert [lun.host_file.read_only for lun in found.luns if lun.host_file is not None] == [True]
    assert f"{file} is READ-ONLY" in found.warnings[0]


def test_odd_files_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(bytes(1000))
    (tmp_path / "disk").write_bytes(qcow2.MAGIC + bytes(1020))
    found = planned(EXPORT_HOST_PATHS=f"{tmp_path}/odd,{tmp_path}/disk")
    assert [lun.size_bytes for lun in found.luns if lun.host_file] == [512, 1024]
    assert "last 488 bytes are left out" in found.warnings[0]
    assert "is a qcow2 file" in found.warnings[1]


@pytest.mark.parametrize(
    ("text", "portal", "shown"),
    [
        ("example.org", Portal("example.org"), "example.org"),
        ("10.0.0.1:13260", Portal("10.0.0.1", 13260), "10.0.0.1:13260"),
        ("fd00::1", Portal("fd00::1"), "[fd00::1]"),
        ("[fd00::1]:3261", Portal("fd00::1", 3261), "[fd00::1]:3261"),
    ],
)
def test_portals(text: str, portal: Portal, shown: str) -> None:
    assert planned(PORTAL=text).portal == portal
    assert portal.short() == shown
