"""What does one call cost when there are many exports, and the provisioner when there are many claims?

    python -m bench.scale [--exports 10,200,2000] [--shards 4] [--claims 10000] [--rounds 3]

Calls are made one after the other by one client, at each number of exports; a create is a volume and its export,
ledger synced. Discovery is SendTargets by libiscsi from one shard. The claims are Bound ones of ours in a control plane
without nodes; "synced" is /readyz of a provisioner started there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import click
import requests

from bench import resolve
from bench.agent import SHARDS, Agent, create, delete
from bench.kube import CLAIMS, VOLUMES, Api
from bench.processes import cpu_seconds, peak_mib, started, threads
from bench.provision import p99
from bench.provisioners import provisioner_argv, provisioner_config, storage_class
from bench.report import Report
from bench.servers import run, scratch, wait_until
from cluster.components.control_plane import ControlPlane
from cluster.machine.ports import free_ports

CALLS = 500
"""Of each kind: the p99 is the fifth slowest then, and no single one."""
IDLE_S = 20


def ms(call: Callable[..., object], *arguments: object) -> float:
    started_s = time.monotonic()
    call(*arguments)
    return (time.monotonic() - started_s) * 1000


def one_size(report: Report, agent: Agent, name: str) -> float:
    """Rows for so many exports.

    Returns:
        The p99 of a create, in milliseconds.
    """
    client, portal = agent.client(), f"iscsi://127.0.0.1:{agent.iscsi_port}"
    samples: dict[str, list[float]] = {"create": [], "get": [], "delete": []}
    for number in range(CALLS):  # one at a time, so that their number stays what it is
        extra = f"extra{number}"
        samples["create"].append(ms(create, client, extra))
        samples["get"].append(ms(client.get_export, extra))
        samples["delete"].append(ms(delete, client, extra))
    samples["list sessions"] = [ms(client.sessions) for _ in range(10)]
    samples["discovery"] = [ms(run, "iscsi-ls", portal) for _ in range(5)]
    for what, values in samples.items():
        report.add(f"{name}: {what}", "ms", values)
    report.add(f"{name}: peak memory of agent and tgtd", "MiB", [peak_mib(agent.process.pid)])
    report.add(f"{name}: threads of agent and tgtd", "", [threads(agent.process.pid)])
    return p99(samples["create"])


def exports(report: Report, counts: list[int], shards: int) -> None:
    with scratch() as folder, Agent(folder, shards).running() as agent:
        worst, made = [], 0
        for count in counts:
            agent.fill(made, count)
            made = count
            worst.append(one_size(report, agent, f"{count} exports"))
        ratio = worst[-1] / worst[0]
        name = f"p99 of a create, {counts[-1]} exports against {counts[0]}"
        report.add(name, "times", [ratio], goal="at most 1.5 times", met=ratio <= 1.5)
    with scratch() as folder, Agent(folder, shards=1).running() as agent:
        agent.fill(0, counts[-1])
        one_size(report, agent, f"{counts[-1]} exports on 1 shard")


def claims(report: Report, count: int, rounds: int) -> None:
    """A provisioner starts where this many claims of ours are Bound already."""
    with scratch() as folder, ControlPlane.alone() as plane, Agent(folder).running() as agent:
        api = Api(plane)
        storage_class(api, "lundock", "iscsi.lundock.io")
        numbers = range(count)
        api.each(lambda number: api.create(VOLUMES, resolve.volume(number)), numbers, threads=16)
        api.each(lambda number: api.create(CLAIMS, resolve.claim(number)), numbers, threads=16)
        health = free_ports()
        config = provisioner_config(folder, agent, health)
        argv = provisioner_argv(plane, config)
        synced, peaks, idle = [], [], []
        for _ in range(rounds):
            started_s = time.monotonic()
            with started("provisioner", argv, folder) as process:
                wait_until(lambda: _is_ready(health), "the provisioner's sync", timeout_s=300)
                synced.append(time.monotonic() - started_s)
                before_s = cpu_seconds(process.pid)
                time.sleep(IDLE_S)
                idle.append((cpu_seconds(process.pid) - before_s) / IDLE_S * 100)
                peaks.append(peak_mib(process.pid))
    name = f"{count} claims: provisioner's"
    report.add(f"{name} start to synced", "s", synced, goal="below 5 s", met=statistics.median(synced) < 5)
    report.add(f"{name} peak memory", "MiB", peaks, goal="below 200 MB", met=max(peaks) < 200e6 / 2**20)
    report.add(f"{name} CPU in the {IDLE_S} s after it", "% of a core", idle)


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


@click.command(help=__doc__)
@click.option("--exports", "counts", default="10,200,2000", show_default=True)
@click.option("--shards", default=SHARDS, show_default=True, help="tgtd processes of the agent with them.")
@click.option("--claims", "claim_count", default=10_000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Starts of the provisioner.")
def main(counts: str, shards: int, claim_count: int, rounds: int) -> None:
    report = Report("scale", " ".join((__doc__ or "").split("\n\n")[2].split()))
    exports(report, [int(count) for count in counts.split(",")], shards)
    claims(report, claim_count, rounds)
    report.show()
    report.write()


if __name__ == "__main__":
    main()
