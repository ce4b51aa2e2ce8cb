"""tgtd's management socket, spoken directly: no password on a command line, real error codes, no fork.

Protocol: usr/tgtadm.h, usr/tgtadm_error.h and usr/mgmt.c of tgt 1.0.85. One connection carries one
request: a header (struct tgtadm_req) and "key=value" text with a final NUL; the answer is an error code,
a length and a body. Requests over 8 KiB are dropped without an answer.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from target_image.agent.errors import EngineDown, EngineFailed

_HEADER = struct.Struct("@II64sIiQQIIIIII")
_ANSWER = struct.Struct("@II")
MAX_TEXT_BYTES = 8 * 1024
ANY_TID = -1
_DRIVER = b"iscsi"


class Mode(IntEnum):
    SYSTEM = 0
    TARGET = 1
    DEVICE = 2
    PORTAL = 3
    SESSION = 5
    CONNECTION = 6
    ACCOUNT = 7


class Op(IntEnum):
    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5
    STATS = 6


class Code(IntEnum):
    """enum tgtadm_errno, complete."""

    SUCCESS = 0
    UNKNOWN_ERROR = 1
    NO_MEMORY = 2
    NO_DRIVER = 3
    NO_TARGET = 4
    NO_LUN = 5
    NO_SESSION = 6
    NO_CONNECTION = 7
    NO_BINDING = 8
    TARGET_EXISTS = 9
    LUN_EXISTS = 10
    BINDING_EXISTS = 11
    ACL_EXISTS = 12
    NO_ACL = 13
    USER_EXISTS = 14
    NO_USER = 15
    TOO_MANY_USERS = 16
    INVALID_REQUEST = 17
    OUT_ACCOUNT_EXISTS = 18
    TARGET_ACTIVE = 19
    LUN_ACTIVE = 20
    DRIVER_ACTIVE = 21
    UNSUPPORTED_OPERATION = 22
    UNKNOWN_PARAMETER = 23
    PREVENT_REMOVAL = 24


class TgtRefused(EngineFailed):
    """tgtd answered with an error code."""

    def __init__(self, request: Request, code: int) -> None:
        name = Code(code).name.lower().replace("_", " ") if code in list(Code) else f"error {code}"
        super().__init__(f"tgtd refused to {request}: {name}")
        self.tgt_code = code


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `text` is left out of repr and str, since it may hold a password."""

    mode: Mode
    op: Op
    tid: int = 0
    lun: int = 0
    sid: int = 0
    cid: int = 0
    text: str = field(default="", repr=False)
    outgoing: bool = False
    force: bool = False
    tolerated: frozenset[Code] = frozenset()
    """Codes that mean the wanted state is there already."""
    replaces: Request | None = None
    """What removes another one of its name, which tgtd refuses to make twice (USER_EXISTS)."""

    def __str__(self) -> str:
        where = f" of tid {self.tid}" if self.tid else ""
        what = f" {self.lun}" if self.mode is Mode.DEVICE else ""
        return f"{self.op.name.lower()} {self.mode.name.lower()}{what}{where}"

    def encode(self) -> bytes:
        text = self.text.encode() + b"\0" if self.text else b""
        if len(text) > MAX_TEXT_BYTES:
            raise EngineFailed(f"a request to {self} has {len(text)} bytes, and tgtd drops more than {MAX_TEXT_BYTES}")
        header = _HEADER.pack(
            self.mode,
            self.op,
            _DRIVER,
            _HEADER.size + len(text),
            self.tid,
            self.sid,
            self.lun,
            self.cid,
            0,  # host_no
            0,  # device_type: TYPE_DISK
            int(self.outgoing),
            0,  # pack
            int(self.force),
        )
        return header + text


class ManagementSocket:
    """The socket of one tgtd. Any thread may use it: each request has a connection of its own."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self._path = str(path)
        self._timeout_s = timeout_s
        self._timeout = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # struct timeval, socket(7)

    def send(self, request: Request) -> str:
        """Send one request and give the answer's body.

        Raises:
            TgtRefused: tgtd answered with an error code that the request does not tolerate.
            EngineDown: there was no answer, or not a whole one.
            EngineFailed: the request is longer than tgtd takes.
        """
        raw = request.encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                # Not settimeout: that polls before each step, and a replay has tens of thousands of them.
                for timeout in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                    connection.setsockopt(socket.SOL_SOCKET, timeout, self._timeout)
                connection.connect(self._path)
                connection.sendall(raw)
                code, length = _ANSWER.unpack(_receive(connection, _ANSWER.size))
                body = _receive(connection, length - _ANSWER.size)
        except BlockingIOError as error:
            raise EngineDown(
                f"tgtd did not answer on {self._path} within {self._timeout_s:g} s when asked to {request}"
            ) from error
        except OSError as error:
            raise EngineDown(f"tgtd did not answer on {self._path} when asked to {request}: {error}") from error
        if code != Code.SUCCESS and code not in request.tolerated:
            raise TgtRefused(request, code)
        return body.rstrip(b"\0").decode(errors="replace")

    def peer_pid(self) -> int | None:
        """The process that listens, or None (SO_PEERCRED, unix(7)); 0 is one that this PID namespace does not see."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout_s)
                connection.connect(self._path)
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
        return int(struct.unpack("3i", credentials)[0])


def _receive(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise ConnectionResetError("the connection was closed before the whole answer")
        parts += part
    return bytes(parts)
