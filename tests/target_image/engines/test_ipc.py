"""The management protocol, byte by byte against tgt's own tgtadm, and value by value against the real tgtd."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from lundock_common.quantity import MIB
from target_image.agent.backing import Address
from target_image.agent.engines import BackingLun, Credentials, TargetState
from target_image.agent.engines.tgt import plan, show
from target_image.agent.engines.tgt.daemon import Daemon
from target_image.agent.engines.tgt.ipc import ANY_TID, Code, ManagementSocket, Mode, Op, Request, TgtRefused
from target_image.agent.errors import EngineDown, EngineFailed
from tests.capabilities import need

LUN = BackingLun(1, Address.of_file("/disk.raw"), MIB, False, True, "serial", "0123456789abcdef", "VOLUME")
TARGET = TargetState(7, 0, "iqn.2026-11.test:disk", (LUN,), chap=Credentials("disk", "a-long-password"))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (
            "--op new --mode target --tid 7 -T iqn.2026-11.test:a",
            Request(Mode.TARGET, Op.NEW, 7, text="targetname=iqn.2026-11.test:a"),
        ),
        ("--op delete --mode target --tid 7 --force", Request(Mode.TARGET, Op.DELETE, 7, force=True)),
        (
            "--op update --mode target --tid 7 --name MaxQueueCmd --value 512",
            Request(Mode.TARGET, Op.UPDATE, 7, text="MaxQueueCmd=512"),
        ),
        ("--op bind --mode target --tid 7 -I ALL", Request(Mode.TARGET, Op.BIND, 7, text="initiator-address=ALL")),
        (
            "--op unbind --mode target --tid 7 -Q iqn.2026-11.test:b",
            Request(Mode.TARGET, Op.UNBIND, 7, text="initiator-name=iqn.2026-11.test:b"),
        ),
        ("--op new --mode account --user u --password p", Request(Mode.ACCOUNT, Op.NEW, text="user=u,password=p")),
        (
            "--op bind --mode account --tid 7 --user u --outgoing",
            Request(Mode.ACCOUNT, Op.BIND, 7, text="user=u", outgoing=True),
        ),
        (
            "--op update --mode logicalunit --tid 7 --lun 3 --params readonly=1",
            Request(Mode.DEVICE, Op.UPDATE, 7, lun=3, text="targetOps readonly=1,"),
        ),
        (
            "--op new --mode logicalunit --tid 7 --lun 3 -b /f --bstype rdwr",
            Request(Mode.DEVICE, Op.NEW, 7, lun=3, text="path=/f,bstype=rdwr"),
        ),
        ("--op delete --mode conn --tid 7 --sid 5 --cid 2", Request(Mode.CONNECTION, Op.DELETE, 7, sid=5, cid=2)),
        ("--op stat --mode logicalunit --tid 7 --lun 3", Request(Mode.DEVICE, Op.STATS, 7, lun=3)),
        ("--op show --mode target", Request(Mode.TARGET, Op.SHOW, ANY_TID)),
        ("--op show --mode portal", Request(Mode.PORTAL, Op.SHOW, ANY_TID)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_are_those_of_tgtadm(tmp_path: Path, arguments: str, request_: Request) -> None:
    need("tgtadm")
    theirs = _recorded(tmp_path / "socket.0", ["tgtadm", "--lld", "iscsi", *arguments.split()], tmp_path / "socket")
    assert _comparable(request_.encode()) == _comparable(theirs)


def _comparable(raw: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """What tgtd reads of a request; the rest (lun and sid that were not given) tgtadm fills with -1."""
    mode_op, driver, lengths, tail, text = raw[:8], raw[8:72], raw[72:80], raw[104:120], raw[120:]
    mode = raw[0]
    lun = raw[88:96] if mode == Mode.DEVICE else b""
    session = raw[80:88] + raw[96:100] if mode == Mode.CONNECTION else b""
    tid = lengths if mode in (Mode.TARGET, Mode.DEVICE, Mode.CONNECTION) else lengths[:4]
    direction = tail[4:8]
    return mode_op + driver.rstrip(b"\0"), tid, lun + session, direction, text


def _recorded(path: Path, argv: list[str], prefix: Path) -> bytes:
    """What a client sends to a socket that only says yes."""
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while len(received) < 120 or len(received) < int.from_bytes(received[72:76], "little"):
                    received.extend(connection.recv(65536))
                connection.sendall((0).to_bytes(4, "little") + (8).to_bytes(4, "little"))

        thread = threading.Thread(target=serve)
        thread.start()
        environment = {**os.environ, "TGT_IPC_SOCKET": str(prefix), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        subprocess.run(argv, env=environment, timeout=30, check=True, capture_output=True)
        thread.join(timeout=10)
    return bytes(received)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    need("tgtd", "tgtadm")
    daemon = Daemon(0, tmp_path, [f"127.0.0.1:{free_ports()}"], nop_interval_s=5, nop_count=5)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.mark.integration
def test_error_codes_have_the_names_that_tgtadm_prints(daemon: Daemon, tmp_path: Path) -> None:
    for request_, code, words in [
        (Request(Mode.TARGET, Op.DELETE, 7), Code.NO_TARGET, "can't find the target"),
        (Request(Mode.DEVICE, Op.DELETE, 7, lun=3), Code.NO_LUN, "can't find the logical unit"),
        (Request(Mode.ACCOUNT, Op.DELETE, text="user=nobody"), Code.NO_USER, "can't find the account"),
    ]:
        with pytest.raises(TgtRefused) as caught:
            daemon.socket.send(request_)
        assert caught.value.tgt_code == code
        arguments = {
            Mode.TARGET: ["--mode", "target", "--tid", "7"],
            Mode.DEVICE: ["--mode", "logicalunit", "--tid", "7", "--lun", "3"],
            Mode.ACCOUNT: ["--mode", "account", "--user", "nobody"],
        }[request_.mode]
        done = subprocess.run(
            ["tgtadm", "--lld", "iscsi", "--op", "delete", *arguments],
            env={"TGT_IPC_SOCKET": str(tmp_path / "tgtd"), "PATH": "/usr/sbin:/usr/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert words in done.stderr


@pytest.mark.integration
def test_a_dead_tgtd_is_no_success(daemon: Daemon) -> None:
    daemon.kill()
    with pytest.raises(EngineDown):
        daemon.socket.send(Request(Mode.SYSTEM, Op.SHOW, ANY_TID))
    assert daemon.socket.peer_pid() is None
    assert not daemon.ready()


@pytest.mark.integration
def test_a_new_daemon_ends_the_one_before_it(daemon: Daemon, tmp_path: Path) -> None:
    successor = Daemon(0, tmp_path, daemon.portals, nop_interval_s=5, nop_count=5)
    successor.start()
    try:
        assert not daemon.alive()
        assert successor.ready()
    finally:
        successor.stop()


STRANGER = """
import sys
from pathlib import Path
from target_image.agent.backing import Address
from target_image.agent.engines.tgt.daemon import Daemon
from target_image.agent.errors import EngineFailed
try:
    Daemon(0, Path(sys.argv[1]), ["127.0.0.1:1"], 5, 5).start()
except EngineFailed as error:
    print(error)
"""


@pytest.mark.integration
def test_a_daemon_of_another_container_is_left_alone(daemon: Daemon, tmp_path: Path) -> None:
    need("root")
    argv = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", STRANGER, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "--run-dir of its own" in done.stdout
    assert daemon.ready()


@pytest.mark.integration
def test_session_parameters_arrive(daemon: Daemon) -> None:
    for request_ in plan.create(TargetState(7, 0, "iqn.2026-11.test:a", ())):
        daemon.socket.send(request_)
    told = daemon.socket.send(Request(Mode.TARGET, Op.SHOW, 7))
    for name, value in plan.SESSION_PARAMETERS.items():
        if name != "MaxXmitDataSegmentLength":  # tgtd shows only what is negotiated
            assert f"{name}={value}\n" in told
    assert "nop_interval=5\nnop_count=5\n" in told


def test_a_request_that_tgtd_would_drop_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="drops"):
        ManagementSocket(tmp_path / "none").send(Request(Mode.ACCOUNT, Op.NEW, text="x" * 9000))


def test_no_password_in_what_is_printed() -> None:
    for request_ in plan.create(TARGET):
        assert "a-long-password" not in f"{request_} {request_!r}"
    assert "a-long-password" not in repr(TARGET)


def words(target: TargetState, observed: plan.Observed | None = None) -> list[str]:
    requests = plan.create(target) if observed is None else plan.change(observed, target)
    return [
        f"{request_.op.name} {request_.mode.name} {re.sub(r',.*', '', request_.text)}".strip() for request_ in requests
    ]


def test_a_new_target_lets_no_one_in_before_all_is_set() -> None:
    done = words(TARGET)
    assert done[0] == "NEW TARGET targetname=iqn.2026-11.test:disk"
    assert done[-1] == "BIND TARGET initiator-address=ALL"
    assert done.index("BIND ACCOUNT user=disk") < len(done) - 1
    assert sum(word.startswith("BIND TARGET") for word in done) == 1


def test_credentials_change_while_no_one_can_log_in() -> None:
    rotated = TargetState(7, 0, TARGET.iqn, TARGET.luns, chap=Credentials("disk", "the-next-password"))
    assert words(rotated, plan.Observed.of(TARGET)) == [
        "UNBIND TARGET initiator-address=ALL",
        "DELETE ACCOUNT user=disk",
        "NEW ACCOUNT user=disk",
        "BIND ACCOUNT user=disk",
        "BIND TARGET initiator-address=ALL",
    ]


def test_access_is_taken_before_it_is_given() -> None:
    narrowed = TargetState(7, 0, TARGET.iqn, TARGET.luns, networks=("10.0.0.0/8",), chap=TARGET.chap)
    assert words(narrowed, plan.Observed.of(TARGET)) == [
        "UNBIND TARGET initiator-address=ALL",
        "BIND TARGET initiator-address=10.0.0.0/8",
    ]


def test_nothing_to_change_asks_for_nothing() -> None:
    assert words(TARGET, plan.Observed.of(TARGET)) == []


def test_what_a_failure_left_is_made_anew() -> None:
    left = show.ShownTarget(7, TARGET.iqn, {1: show.ShownLun("/disk.raw", True, True, "", False)}, frozenset({"disk"}))
    done = words(TARGET, plan.Observed.shown(left))
    assert "DELETE DEVICE" in done
    assert done.index("NEW ACCOUNT user=disk") < done.index("BIND TARGET initiator-address=ALL")
