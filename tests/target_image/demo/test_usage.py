"""The commands and the banner that people copy from."""

from __future__ import annotations

import shlex
import subprocess

from lundock_common.portal import Portal
from lundock_common.quantity import GIB
from target_image.agent.demo.banner import Row, banner
from target_image.agent.demo.usage import commands
from tests.capabilities import need

IQN = "iqn.2017-01.io.kubevirt:sn.42"


def lines(portal: Portal, username: str | None = None) -> dict[str, str]:
    return {command.purpose: command.line for command in commands(portal, IQN, 2, username)}


def test_the_command_of_2017() -> None:
    expected = "qemu-system-x86_64 -snapshot -nographic -drive file=iscsi://127.0.0.1/iqn.2017-01.io.kubevirt:sn.42/2"
    assert lines(Portal("127.0.0.1"))["boot it"] == expected


def test_ipv6_and_another_port() -> None:
    found = lines(Portal("fd00::1", 3261))
    assert f"iscsi://[fd00::1]:3261/{IQN}/2" in found["boot it"]
    assert found["list the LUNs"] == "iscsi-ls -s iscsi://[fd00::1]:3261"
    assert found["find the target"].endswith("--portal [fd00::1]:3261")
    assert "attach it to a VM of libvirt" not in found  # virsh has no way to say it


def test_chap_adds_the_environment_and_no_password() -> None:
    assert "CHAP for qemu and iscsi-ls" not in lines(Portal("host"))
    assert "LIBISCSI_CHAP_USERNAME=anna" in lines(Portal("host"), "anna")["CHAP for qemu and iscsi-ls"]


def test_virsh_takes_the_command() -> None:
    need("virt-xml-validate")  # of the package that has virsh
    argv = shlex.split(lines(Portal("127.0.0.1", 13260))["attach it to a VM of libvirt"].replace(" VM ", " test "))
    argv[1:1] = ["-c", "test:///default"]
    done = subprocess.run([*argv, "--print-xml"], capture_output=True, text=True, timeout=60, check=True)
    assert f"<source protocol='iscsi' name='{IQN}/2'>" in done.stdout
    assert "<host name='127.0.0.1' port='13260'/>" in done.stdout


def test_the_banner() -> None:
    rows = [
        Row(1, "empty", GIB, "ready"),
        Row(2, "alpine", 0, "its image is being fetched"),
        Row(4, "demo", 2**26, "ready"),
    ]
    text = banner(Portal("127.0.0.1"), IQN, rows, "anna", ["a word of warning"])
    assert f"Lundock serves {IQN} (CHAP user anna)" in text
    assert "LUN 2   alpine                  -  its image is being fetched" in text
    assert "WARNING: a word of warning" in text
    assert f"iscsi://127.0.0.1/{IQN}/4" in text
