"""One tgtd process: started offline, watched, stopped cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from lundock_common import process
from lundock_common.portal import Portal
from target_image.agent import addresses
from target_image.agent.engines.tgt import show
from target_image.agent.engines.tgt.ipc import ANY_TID, Code, ManagementSocket, Mode, Op, Request
from target_image.agent.errors import EngineDown, EngineFailed

log = structlog.get_logger()

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 2.0
PULSE_TIMEOUT_S = 3.0
POLL_S = 0.02
_NOISE = re.compile(r"RDMA|oom[-_]|nr_open|timer_fd|signalfd|sz:\d+ params:|bs_thread_open|bs_thread_close")
"""What tgtd prints when it runs without privilege, or on every change, and what means nothing."""


def _show(mode: Mode) -> Request:
    return Request(mode, Op.SHOW, ANY_TID)


class Daemon:
    """The tgtd of one shard. `portals` are host:port, IPv6 in brackets."""

    def __init__(self, shard: int, run_dir: Path, portals: Sequence[str], nop_interval_s: int, nop_count: int) -> None:
        self.shard = shard
        self.portals = list(portals)
        self._run_dir = run_dir
        self._nops = f"nop_interval={nop_interval_s},nop_count={nop_count}"
        self._process: subprocess.Popen[bytes] | None = None
        self._silent_since_s: float | None = None
        self.socket = ManagementSocket(run_dir / f"tgtd.{shard}")
        self._pulse = ManagementSocket(run_dir / f"tgtd.{shard}", PULSE_TIMEOUT_S)

    def start(self) -> None:
        """Start tgtd, offline and empty.

        Raises:
            EngineFailed: it ended or does not answer, another container's tgtd is in its place, or it could not have a
                portal, which is named.
        """
        self._end_predecessor()
        self._silent_since_s = None
        self._run_dir.mkdir(parents=True, exist_ok=True)
        parameters = ",".join([*(f"portal={portal}" for portal in self.portals), self._nops])
        self._process = process.spawn(
            ["tgtd", "--foreground", "--control-port", str(self.shard), "--nr_iothreads", "1", "--iscsi", parameters],
            environment={"TGT_IPC_SOCKET": str(self._run_dir / "tgtd")},
        )
        self._log = threading.Thread(target=self._read_log, args=(self._process,), daemon=True)
        self._log.start()
        self._wait_for_answer()
        missing = set(self.portals) - show.portals(self.socket.send(_show(Mode.PORTAL)))
        if missing:
            # tgtd stays up without its portal and says nothing: only this read-back shows it.
            self.kill()
            raise EngineFailed(
                f"tgtd could not listen on {', '.join(sorted(missing))}: is the port in use? "
                "Free it, or choose another with --iscsi-port"
            )
        self.set_state("offline")

    def set_state(self, state: str) -> None:
        """`ready` lets initiators in; `offline` closes their connections as they come."""
        self.socket.send(Request(Mode.SYSTEM, Op.UPDATE, text=f"State={state}"))

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill_hung(self, after_s: float) -> None:
        """Kill a tgtd that has not answered for so long, at two calls of this or more: its event loop serves nobody.

        One missed answer alone means little: the whole container may have been stopped meanwhile (`docker pause`).
        """
        try:
            self._pulse.send(_show(Mode.SYSTEM))
        except EngineDown as error:
            if self._process is None or not self.alive():
                return
            now_s = time.monotonic()
            self._silent_since_s = now_s if self._silent_since_s is None else self._silent_since_s
            if now_s - self._silent_since_s >= after_s > 0:
                log.error("tgtd hangs: it is killed", shard=self.shard, reason=error.detail)
                self._process.kill()
        else:
            self._silent_since_s = None

    def ready(self) -> bool:
        """tgtd answers, and each portal accepts a TCP connection."""
        try:
            self.socket.send(_show(Mode.PORTAL))
        except EngineDown:
            return False
        return self.alive() and all(addresses.accepts_connections(Portal.parse(portal)) for portal in self.portals)

    def stop(self) -> None:
        """Let no one in, end every session, then kill: tgtd ignores SIGTERM, and keeps nothing worth tidying up.

        What it acknowledged was written to the backing files; what it did not, no initiator relies on.
        """
        if not self.alive():
            return
        if self._silent_since_s is not None:  # it would take longer to answer than a stop may
            self.kill()
            return
        try:
            self.set_state("offline")
            self._end_sessions(time.monotonic() + STOP_TIMEOUT_S)
        except EngineFailed as error:
            log.warning("tgtd did not end its sessions", shard=self.shard, reason=error.detail)
        finally:
            self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._log.join(timeout=1)

    def _end_sessions(self, deadline: float) -> None:
        gone = frozenset({Code.NO_TARGET, Code.NO_SESSION, Code.NO_CONNECTION})
        while time.monotonic() < deadline:
            shown = show.targets(self.socket.send(_show(Mode.TARGET)))
            busy = [tid for tid, target in shown.items() if target.busy]
            if not busy:
                return
            for tid in busy:
                answer = self.socket.send(Request(Mode.CONNECTION, Op.SHOW, tid, tolerated=gone))
                for link in show.connections(answer):
                    self.socket.send(
                        Request(Mode.CONNECTION, Op.DELETE, tid, sid=link.session, cid=link.connection, tolerated=gone)
                    )
            time.sleep(POLL_S)

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if not self.alive():
                raise EngineFailed(f"tgtd of shard {self.shard} ended at once: its messages are in the log above")
            try:
                self.socket.send(_show(Mode.SYSTEM))
            except EngineFailed as error:
                if time.monotonic() > deadline:
                    self.kill()
                    raise EngineFailed(
                        f"tgtd of shard {self.shard} did not answer within {START_TIMEOUT_S:g} s"
                    ) from error
            else:
                return
            time.sleep(POLL_S)

    def _end_predecessor(self) -> None:
        """An agent that was killed may have left its tgtd behind, on our socket and port."""
        pid = self.socket.peer_pid()
        if pid is None:
            return
        if pid == 0:  # kill(0) would be meant for ourselves
            raise EngineFailed(
                f"a tgtd of another container serves on {self._run_dir}: give each agent a --run-dir of its own"
            )
        log.warning("a tgtd of an earlier agent is killed", shard=self.shard, pid=pid)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.socket.peer_pid() is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None  # noqa: S101 - spawn() made the pipe
        shard_log = log.bind(shard=self.shard)  # once: a replay brings thousands of lines
        with process.stderr as lines:
            for raw in lines:
                line = raw.decode(errors="replace").strip()
                write = shard_log.debug if _NOISE.search(line) else shard_log.info
                write("tgtd", line=line.removeprefix("tgtd: "))
