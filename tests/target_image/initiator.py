"""Real initiators: libiscsi's tools, and QEMU's block layer for a session that stays."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TIMEOUT_S = 30


@dataclass(frozen=True)
class Login:
    """Whom to log in to, and as whom."""

    portal: str
    iqn: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    initiator: str = "iqn.2026-11.test:initiator"
    mutual_user: str | None = None
    mutual_password: str | None = field(default=None, repr=False)
    """What the target has to prove that it knows, where both are given."""

    def url(self, lun: int | None = None) -> str:
        return f"iscsi://{self.portal}/{self.iqn}" + ("" if lun is None else f"/{lun}")

    @property
    def environment(self) -> dict[str, str]:
        chap = {
            "LIBISCSI_CHAP_USERNAME": self.user,
            "LIBISCSI_CHAP_PASSWORD": self.password,
            "LIBISCSI_CHAP_TARGET_USERNAME": self.mutual_user,
            "LIBISCSI_CHAP_TARGET_PASSWORD": self.mutual_password,
        }
        return {**os.environ, **{name: value for name, value in chap.items() if value is not None}}


def discover(portal: str, initiator: str = "iqn.2026-11.test:initiator") -> set[str]:
    """IQNs that the portal tells this initiator of (SendTargets)."""
    done = _run(["iscsi-ls", "-i", initiator, f"iscsi://{portal}"], os.environ)
    return set(re.findall(r"Target:(\S+)", done.stdout))


def size_bytes(login: Login, lun: int = 1) -> int | None:
    """READ CAPACITY (16) after a login of its own; None where the login is refused."""
    done = _run(["iscsi-readcapacity16", "-i", login.initiator, "-s", login.url(lun)], login.environment)
    return int(done.stdout) if done.returncode == 0 else None


def inquiry(login: Login, lun: int = 1, page: int | None = None) -> str:
    """Standard INQUIRY, or one of its VPD pages, as iscsi-inq prints it."""
    chosen = [] if page is None else ["-e", "1", "-c", str(page)]
    done = _run(["iscsi-inq", "-i", login.initiator, *chosen, login.url(lun)], login.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def can_log_in(login: Login) -> bool:
    return size_bytes(login) is not None


class Session:
    """A session that stays until it is closed: qemu-io at its prompt."""

    def __init__(self, login: Login, lun: int = 1, *, read_only: bool = False) -> None:
        host, _, port = login.portal.rpartition(":")
        options = {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": f"{host}:{port}",
            "target": login.iqn,
            "lun": str(lun),
            "initiator-name": login.initiator,
        }
        secret = []
        if login.user is not None:
            options |= {"user": login.user, "password-secret": "chap"}
            secret = ["--object", f"secret,id=chap,data={login.password}"]
        image = ",".join(f"{name}={value}" for name, value in options.items())
        argv = ["qemu-io", *secret, *(["-r"] if read_only else []), "-d", "unmap", "--image-opts", image]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        try:
            self.read(0, 512)
        except BaseException:
            self.close()
            raise

    def run(self, command: str) -> str:
        """One command of qemu-io(1) that does I/O, and what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if "ops/sec" in line or "failed: " in line or "can't open" in line:
                break
        return "".join(lines)

    def read(self, offset: int, count: int, pattern: int | None = None) -> str:
        check = "" if pattern is None else f"-P {pattern} "
        answer = self.run(f"read {check}{offset} {count}")
        assert "read" in answer, answer
        assert "failed" not in answer, answer
        return answer

    def write(self, offset: int, count: int, pattern: int) -> None:
        answer = self.run(f"write -f -P {pattern} {offset} {count}")
        assert "wrote" in answer, answer

    def discard(self, offset: int, count: int) -> None:
        answer = self.run(f"discard {offset} {count}")
        assert "failed" not in answer, answer

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run(argv: list[str], environment: os._Environ[str] | dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False, env=dict(environment)
    )
