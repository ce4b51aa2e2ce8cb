"""How soon does the target serve? After `docker run`, after a restart with many exports, after a kill of tgtd.

    python -m bench.start [--exports 1,200,2000] [--image lundock/target] [--shards 4] [--rounds 5]

"Served" is a login by libiscsi that gets the disk's capacity, tried again and again from the start on. A restart is a
stop and a start of the agent as a process, to the last export that it has. The kill is `kill -9` of the tgtd that a
reader is at work with, or of all of them: to the next login of somebody else, and to the next block that the reader's
own session reads, which QEMU's block layer opens again as it does for a VM.
"""

from __future__ import annotations

import statistics
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import click
import psutil

from bench.agent import SHARDS, Agent
from bench.processes import started
from bench.report import Report
from bench.servers import run, scratch, wait_until
from cluster.machine import shell
from cluster.machine.ports import free_ports

DEMO = "iqn.2017-01.io.kubevirt:sn.42/1"


def container_s(image: str) -> float:
    """Seconds from `docker run` to the first login."""
    name, port = f"lundock-bench-{uuid.uuid4().hex[:8]}", free_ports()
    probe = ["iscsi-readcapacity16", f"iscsi://127.0.0.1:{port}/{DEMO}"]
    started_s = time.monotonic()
    try:
        run("docker", "run", "-d", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:3260", image)
        wait_until(lambda: shell.succeeds(*probe), "the first login")
        return time.monotonic() - started_s
    finally:
        run("docker", "rm", "-f", "-v", name)


def restarts_s(agent: Agent, made: int, count: int, rounds: int) -> list[float]:
    """Fill the agent up to `count` exports; seconds from each start to a login at the last of them."""
    with agent.running():
        agent.fill(made, count)
    return [_restart_s(agent, f"n{count - 1}") for _ in range(rounds)]


def _restart_s(agent: Agent, last: str) -> float:
    started_s = time.monotonic()
    with agent.running():
        wait_until(lambda: agent.serves(last), f"a login to {last}")
        return time.monotonic() - started_s


@dataclass(frozen=True)
class Outage:
    """Seconds from kill -9 of tgtd under I/O."""

    login_s: float
    """To the next login that succeeds."""
    read_s: float
    """To the next block read through the session that was there before."""


def outage(agent: Agent, name: str, victims: list[psutil.Process]) -> Outage:
    """Kill tgtds while one QEMU reads without a pause, and another one has just read a block."""
    url = agent.iscsi_url(name)
    bench = ["qemu-img", "bench", "-f", "raw", "-s", "64k", "-d", "8", "-c", "100000000", url]
    with started("reader", bench, agent.folder), _Prompt(url) as prompt:
        prompt.read()
        for victim in victims:
            victim.kill()
        killed_at_s = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(prompt.read)
            wait_until(lambda: agent.serves(name), f"a login to {name} after the kill")
            login_s = time.monotonic() - killed_at_s
            return Outage(login_s, reading.result(timeout=120) - killed_at_s)


class _Prompt:
    """qemu-io at its prompt: one session of QEMU's block layer that stays."""

    def __init__(self, url: str) -> None:
        argv = ["qemu-io", "-r", "-f", "raw", url]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> float:
        """Read one block.

        Returns:
            The time.monotonic() at which it had been read.

        Raises:
            RuntimeError: qemu-io could not read it, or ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("read 0 64k", file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if "failed" in line:
                raise RuntimeError(f"qemu-io could not read: {line.strip()}")
            if "ops/sec" in line:
                return time.monotonic()
        raise RuntimeError("qemu-io ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@click.command(help=__doc__)
@click.option("--exports", default="1,200,2000", show_default=True)
@click.option("--image", default="lundock/target", show_default=True)
@click.option("--shards", default=SHARDS, show_default=True, help="tgtd processes of an agent with many exports.")
@click.option("--rounds", default=5, show_default=True)
def main(exports: str, image: str, shards: int, rounds: int) -> None:
    report = Report("start", " ".join((__doc__ or "").split("\n\n")[2].split()))
    row = report.add("docker run to the first login", "s", [container_s(image) for _ in range(rounds)])
    row.goal, row.met = "1 s", row.median <= 1
    counts = sorted(int(number) for number in exports.split(","))
    with scratch() as folder:
        agent, made = Agent(folder, shards), 0
        for count in counts:
            samples = restarts_s(agent, made, count, rounds)
            made = count
            name = f"restart with {count} exports, {shards} shards"
            report.add(name, "s", samples, goal="5 s", met=statistics.median(samples) <= 5)
        with agent.running():
            wait_until(lambda: agent.serves("n0"), "a login")
            one = [outage(agent, "n0", agent.daemons("n0")) for _ in range(rounds)]
            every = [outage(agent, "n0", agent.daemons()) for _ in range(rounds)]
        for what in ("login", "read"):
            samples = [getattr(each, f"{what}_s") for each in one]
            name = f"kill -9 of a tgtd under I/O to the next {what}, {made} exports"
            report.add(name, "s", samples, goal="5 s", met=statistics.median(samples) <= 5)
            report.add(f"{name}, all {shards} killed", "s", [getattr(each, f"{what}_s") for each in every])
    with scratch() as folder:
        report.add(f"restart with {made} exports, 1 shard", "s", restarts_s(Agent(folder, 1), 0, made, rounds))
    report.show()
    report.write()


if __name__ == "__main__":
    main()
