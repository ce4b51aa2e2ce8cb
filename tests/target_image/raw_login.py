"""An initiator made of bytes: it logs in under whatever name a test gives it, which no proper initiator does."""

from __future__ import annotations

import socket
import struct

from tests.target_image.initiator import Login

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
"""The stages of a login (RFC 7143 section 11.12.3)."""


def raw_login(login: Login, name: bytes, alias: bytes = b"") -> socket.socket:
    """A connection in full feature phase, without CHAP. The session lives until it is closed."""
    host, _, port = login.portal.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    keys = [b"InitiatorName=" + name, b"SessionType=Normal", b"TargetName=" + login.iqn.encode(), b"AuthMethod=None"]
    if alias:
        keys.append(b"InitiatorAlias=" + alias)
    _exchange(connection, SECURITY, OPERATIONAL, keys)
    stage = _exchange(connection, OPERATIONAL, FULL_FEATURE, [b"HeaderDigest=None", b"DataDigest=None"])
    if stage != FULL_FEATURE:  # the target had parameters of its own to tell
        stage = _exchange(connection, OPERATIONAL, FULL_FEATURE, [])
    assert stage == FULL_FEATURE
    return connection


def _exchange(connection: socket.socket, stage: int, next_stage: int, keys: list[bytes]) -> int:
    """One Login Request and its Response (RFC 7143 sections 11.12 and 11.13); gives the stage that follows."""
    data = b"".join(key + b"\0" for key in keys)
    header = struct.pack(">BBBB", 0x43, 0x80 | stage << 2 | next_stage, 0, 0) + len(data).to_bytes(4, "big")
    header += bytes.fromhex("800000000000") + bytes(2) + struct.pack(">IHHII", 1, 0, 0, 1, 0) + bytes(16)
    connection.sendall(header + data + bytes(-len(data) % 4))
    answer = _receive(connection, 48)
    _receive(connection, (int.from_bytes(answer[5:8], "big") + 3) // 4 * 4)
    assert answer[36] == 0, f"the login was refused with status class {answer[36]}, detail {answer[37]}"
    return answer[1] & 3 if answer[1] & 0x80 else stage


def _receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        part = connection.recv(length - len(received))
        assert part, "the target closed the connection"
        received += part
    return received
