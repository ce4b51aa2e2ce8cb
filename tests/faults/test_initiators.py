"""Initiators that mean no good: whatever one of them does, the others keep their service."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack

import pytest

from target_image.api.requests import Chap, ExportSpec, Lun, VolumeSpec
from tests.faults.tools.disks import Disk, Written
from tests.provisioner.stage import TargetProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LOGIN_REQUEST = 0x43
"""Opcode 0x03, immediate (RFC 7143 section 11.12)."""
LOGIN_RESPONSE, SCSI_COMMAND = 0x23, 0x01
TRANSITION = 0x80


@pytest.fixture
def disk(target: TargetProcess) -> Disk:
    """An export with CHAP, and what a proper initiator of it knows."""
    password = "correct-horse-battery"
    target.client.ensure_volume("good", VolumeSpec(size_bytes=8 * 2**20))
    spec = ExportSpec(
        luns=[Lun(lun=1, volume="good")],
        chap=Chap.model_validate({"username": "good", "password": password}),
    )
    export = target.client.ensure_export("good", spec)
    return Disk(f"127.0.0.1:{target.iscsi_port}", export.iqn, "good", password)


def connected(target: TargetProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", target.iscsi_port), timeout=10)


def works(disk: Disk, written: Written) -> None:
    """Others can log in, write, and read what they wrote."""
    eventually(lambda: written.write(disk, len(written.acknowledged), 0x5A), "a write to be acknowledged", 60)
    written.verify(disk)


def test_garbage(target: TargetProcess, disk: Disk) -> None:
    written = Written()
    for _ in range(50):
        with connected(target) as client:
            client.sendall(os.urandom(4096))
    works(disk, written)


def test_a_thousand_connections_that_say_nothing(target: TargetProcess, disk: Disk) -> None:
    written = Written()
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(target))
        works(disk, written)
    works(disk, written)


def test_one_that_stops_in_the_middle_of_a_request(target: TargetProcess, disk: Disk) -> None:
    written = Written()
    # A header that promises 8 KiB of login keys, and half a kilobyte of them.
    header = bytes([LOGIN_REQUEST, 0x87, 0, 0, 0]) + (8192).to_bytes(3, "big") + bytes(40)
    with ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(connected(target))
            client.sendall(header + b"InitiatorName=iqn.2026-11.io.lundock:stalled\0".ljust(512, b"\0"))
        works(disk, written)


def test_one_that_stops_in_the_middle_of_its_data(target: TargetProcess, disk: Disk) -> None:
    """Logged in, with a write started: a header that promises data, and a part of it."""
    target.client.ensure_volume("open", VolumeSpec(size_bytes=8 * 2**20))
    iqn = target.client.ensure_export("open", ExportSpec(luns=[Lun(lun=1, volume="open")])).iqn
    written = Written()
    with ExitStack() as stack:
        for number in range(10):
            client = stack.enter_context(connected(target))
            log_in(client, iqn, f"iqn.2026-11.io.lundock:stalled-{number}")
            client.sendall(write_command(64 * 1024) + bytes(1000))
        eventually(lambda: len(target.client.sessions()) >= 10, "the sessions to be listed")
        works(disk, written)
        works(Disk(disk.portal, iqn), Written())
    works(disk, written)


def log_in(client: socket.socket, iqn: str, initiator: str) -> None:
    """From operational negotiation to full feature phase (RFC 7143 section 11.12); the target's offers are taken."""
    keys = {"InitiatorName": initiator, "TargetName": iqn, "SessionType": "Normal"}
    data, isid = "".join(f"{key}={value}\0" for key, value in keys.items()).encode(), os.urandom(6)
    for _ in range(5):
        header = bytes([LOGIN_REQUEST, 0x87, 0, 0, 0]) + len(data).to_bytes(3, "big") + isid
        client.sendall(header.ljust(48, b"\0") + data.ljust(-(-len(data) // 4) * 4, b"\0"))
        answer = client.recv(48, socket.MSG_WAITALL)
        assert answer[0] == LOGIN_RESPONSE
        assert answer[36:38] == bytes(2), f"the login failed: {answer[36:38].hex()}"
        offered_bytes = int.from_bytes(answer[5:8], "big")
        client.recv(-(-offered_bytes // 4) * 4, socket.MSG_WAITALL)
        if answer[1] & TRANSITION:
            return
        data = b""
    raise AssertionError("the target does not end the negotiation")


def write_command(size_bytes: int) -> bytes:
    """WRITE (10) of LUN 1 with all of its data as immediate data (RFC 7143 section 11.3)."""
    blocks = (size_bytes // 512).to_bytes(2, "big")
    command = bytes([0x2A, 0, 0, 0, 0, 0, 0]) + blocks + bytes(7)
    lun = bytes([0, 1, 0, 0, 0, 0, 0, 0])
    numbers = (1).to_bytes(4, "big") + size_bytes.to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(4)
    return bytes([SCSI_COMMAND, 0xA0, 0, 0, 0]) + size_bytes.to_bytes(3, "big") + lun + numbers + command


def test_wrong_passwords(target: TargetProcess, disk: Disk) -> None:
    """As many as LUNDOCK_FAULT_PASSWORDS says: none gets in, and the right one still does."""
    written = Written()
    url = f"iscsi://good%wrong-horse-battery@{disk.portal}/{disk.iqn}/1"
    for number in range(int(os.environ.get("LUNDOCK_FAULT_PASSWORDS", "50"))):
        done = subprocess.run(["iscsi-readcapacity16", url], capture_output=True, timeout=60, check=False)
        assert done.returncode != 0, f"attempt {number} got in with a wrong password"
    eventually(lambda: not target.client.sessions(), "the sessions to end")
    works(disk, written)
