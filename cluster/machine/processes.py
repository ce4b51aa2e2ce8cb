"""Long-running processes, recognised by a mark in their environment.

There are no PID files: a process belongs to a cluster when its environment says so, or when it runs in the cluster's
cgroup. That cannot go stale, so `down` and a second `up` find whatever a crash of anything left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.errors import NotReady
from cluster.machine import shell
from cluster.machine.waiting import wait_for

OWNER = "LUNDOCK_CLUSTER"
COMPONENT = "LUNDOCK_CLUSTER_COMPONENT"


@dataclass(frozen=True)
class Processes:
    """The processes of one owner: a cluster, or the daemons of this machine."""

    owner: Path
    """The folder that stands for the owner: its name is the mark."""
    logs: Path

    def start(self, component: str, *argv: str | Path, environment: Mapping[str, str] | None = None) -> None:
        """Start a component in a session of its own, unless it runs already; its output goes to its log."""
        if self.pid(component) is not None:
            return
        self.logs.mkdir(parents=True, exist_ok=True)
        marks = {OWNER: str(self.owner), COMPONENT: component, **(environment or {})}
        log = str(self.log(component))
        program = str(shell.find(str(argv[0])))
        # Not a Popen: nobody waits for a daemon, which a Popen complains about when it is forgotten.
        pid = os.posix_spawn(
            program,
            [program, *map(str, argv[1:])],
            shell.environment_with_path(marks),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        # For a moment after its exec a process has no environment yet.
        wait_for(lambda: self.pid(component) == pid or not is_alive(pid), timeout_s=5)

    def log(self, component: str) -> Path:
        return self.logs / f"{Path(component).name}.log"

    def pid(self, component: str) -> int | None:
        """The component's process: the leader of the session that `start` made, not one of its children."""
        for pid, environment in self._marked():
            if environment.get(COMPONENT) == component and _leads_its_session(pid):
                return pid
        return None

    def all(self) -> list[int]:
        """Every process with the owner's mark, children such as containerd's shims included."""
        return [pid for pid, _ in self._marked()]

    def stop(self, component: str, patience_s: float = 10) -> bool:
        """End one component, by SIGTERM first.

        Returns:
            Whether it was running.
        """
        pid = self.pid(component)
        if pid is not None:
            end([pid], patience_s)
        return pid is not None

    def wait(self, component: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until a component is ready.

        Raises:
            NotReady: with the end of its log, when it ended or the time is over.
        """

        def state() -> str:
            if ready():
                return "ready"
            return "ended" if self.pid(component) is None else "starting"

        seen = wait_for(state, timeout_s, enough=lambda state: state != "starting")
        if seen == "ended":
            raise NotReady(f"{component} ended while it was starting.{self._tail(component)}")
        if seen == "starting":
            raise NotReady(f"{component} is not ready after {timeout_s:.0f} s.{self._tail(component)}")

    def _tail(self, component: str, lines: int = 12) -> str:
        log = self.log(component)
        text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
        return "\n".join([f" The end of {log}:", *(line[:400] for line in text)])

    def _marked(self) -> Iterator[tuple[int, dict[str, str]]]:
        here = Path("/proc/self/ns/pid").readlink()
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                if environment.get(OWNER) != str(self.owner) or process.pid == os.getpid():
                    continue
                if Path(f"/proc/{process.pid}/ns/pid").readlink() != here:
                    continue  # a cluster in a container has the same mark
            except (psutil.Error, OSError):  # it ended meanwhile, or it is another user's
                continue
            yield process.pid, environment


def in_cgroup(name: str) -> list[int]:
    """The processes of a cgroup and of everything below it, in any hierarchy (cgroup v1 and v2)."""
    found = []
    for pid in psutil.pids():
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        if any(f"{group.split(':', 2)[2]}/".startswith(f"/{name}/") for group in groups):
            found.append(pid)
    return found


def end(pids: list[int], patience_s: float) -> None:
    """Ask processes to end, and kill those that have not after the patience. With none of it, kill at once."""
    if patience_s > 0:
        _signal(pids, signal.SIGTERM)
        if wait_for(lambda: not any(map(is_alive, pids)), patience_s):
            return
    _signal(pids, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, pids)), timeout_s=10)


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: its parent, which may be us, has only not waited for it yet.

    The state of its first thread is not enough: while another thread has still to end, the process keeps its files and
    ports. For both reasons this is not `psutil.pid_exists` or `psutil.wait_procs`.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def _leads_its_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
