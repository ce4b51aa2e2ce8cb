"""The guest itself: boots, obeys, and has what the other guest tests build on."""

from __future__ import annotations

import pytest

from tests.guest.machine import GuestError, Machine

pytestmark = pytest.mark.guest


def test_commands_come_back_with_code_and_both_outputs(guest: Machine) -> None:
    result = guest.run("echo out; echo err >&2; exit 7", check=False)
    assert (result.code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    with pytest.raises(GuestError, match="exit code 3"):
        guest.run("exit 3")


def test_a_command_that_hangs_is_ended(guest: Machine) -> None:
    assert guest.run("sleep 600", timeout_s=0.5, check=False).code == 124


def test_a_daemon_does_not_hold_its_starter(guest: Machine) -> None:
    guest.start("sleep", "300", name="sleeper")
    guest.run("kill $(cat /tmp/sleeper.pid)")


def test_the_kernel_has_target_and_initiator(guest: Machine) -> None:
    guest.run("modprobe -n target_core_mod && modprobe -n iscsi_target_mod && modprobe -n target_core_file")
    guest.run("test -d /sys/module/iscsi_tcp && pidof iscsid && mountpoint /sys/kernel/config")


def test_our_source_and_its_libraries_are_there(guest: Machine) -> None:
    guest.run("python3 -c 'import fastapi, rtslib_fb, target_image.api.requests'")
