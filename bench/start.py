"""How soon does the target serve? After `docker run`, after a restart with many exports, after a kill of tgtd.

    python -m bench.start [--exports 1,200,2000] [--image lundock/target]

"Served" is a login by libiscsi that gets the disk's capacity, tried again and again from the start on. A restart is a
stop and a start of the agent as a process, to the last export that it has; the kill is `kill -9` of tgtd with a reader
at work.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
import uuid

import click

from bench.agent import Agent
from bench.processes import family, started
from bench.report import Report
from bench.servers import free_ports, run, scratch, wait_until

DEMO = "iqn.2017-01.io.kubevirt:sn.42/1"


def container_s(image: str) -> float:
    """Seconds from `docker run` to the first login."""
    name, port = f"lundock-bench-{uuid.uuid4().hex[:8]}", free_ports()
    probe = ["iscsi-readcapacity16", f"iscsi://127.0.0.1:{port}/{DEMO}"]
    started_s = time.monotonic()
    try:
        run("docker", "run", "-d", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:3260", image)
        wait_until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, "the first login")
        return time.monotonic() - started_s
    finally:
        run("docker", "rm", "-f", "-v", name)


def restart_s(agent: Agent, last: str) -> float:
    """Seconds from a stopped agent's start to a login at the last of its exports."""
    started_s = time.monotonic()
    with agent.running():
        wait_until(lambda: agent.serves(last), f"a login to {last}")
        return time.monotonic() - started_s


def killed_s(agent: Agent, name: str) -> float:
    """Seconds from kill -9 of tgtd under I/O to the next login that succeeds."""
    bench = ["qemu-img", "bench", "-f", "raw", "-s", "64k", "-d", "8", "-c", "100000000", agent.iscsi_url(name)]
    with started("reader", bench, agent.folder):
        time.sleep(1)  # let the reader get to work: it says nothing that could be waited for
        for pid in family(agent.process.pid)[1:]:
            os.kill(pid, signal.SIGKILL)
        killed_at_s = time.monotonic()
        wait_until(lambda: agent.serves(name), f"a login to {name} after the kill")
        return time.monotonic() - killed_at_s


@click.command(help=__doc__)
@click.option("--exports", default="1,200,2000", show_default=True)
@click.option("--image", default="lundock/target", show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(exports: str, image: str, rounds: int) -> None:
    report = Report("start", " ".join((__doc__ or "").split("\n\n")[2].split()))
    row = report.add("docker run to the first login", "s", [container_s(image) for _ in range(rounds)])
    row.goal, row.met = "1 s", row.median <= 1
    with scratch() as folder:
        agent, made = Agent(folder), 0
        for count in sorted(int(number) for number in exports.split(",")):
            with agent.running():
                agent.fill(made, count)
            made = count
            row = report.add(
                f"restart with {count} exports", "s", [restart_s(agent, f"n{count - 1}") for _ in range(rounds)]
            )
            row.goal, row.met = "5 s", row.median <= 5
        with agent.running():
            wait_until(lambda: agent.serves("n0"), "a login")
            samples = [killed_s(agent, "n0") for _ in range(rounds)]
        name = f"kill -9 of tgtd under I/O to the next login, {made} exports"
        report.add(name, "s", samples, goal="5 s", met=statistics.median(samples) <= 5)
    report.show()
    report.write()


if __name__ == "__main__":
    main()
