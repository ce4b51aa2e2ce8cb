"""How fast is the way to the data? The shipped container against stock tgtd, the raw file and nbdkit.

    python -m bench.datapath [--rounds 5] [--image lundock/target]

Each round measures every server in turn, so that a ratio compares what ran within seconds of each other. The
disks' data is in the page cache: what is measured is the protocol's cost. QEMU's block layer (`qemu-img bench`) and
libiscsi alone (`iscsi-perf`, which only reads) are the initiators, as they are a VM's. Flushes are counted by strace.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from bench import servers
from bench.processes import family
from bench.report import Report, version_of

KIB, MIB = 2**10, 2**20
BLOCK_BYTES = 512
FLUSHES = 100


@dataclass(frozen=True)
class Load:
    """One pattern of requests. `requests` is chosen so that a run takes about a second."""

    block_bytes: int
    write: bool
    depth: int
    requests: int

    @property
    def name(self) -> str:
        size = f"{self.block_bytes // MIB} MiB" if self.block_bytes >= MIB else f"{self.block_bytes // KIB} KiB"
        return f"{size} {'write' if self.write else 'read'}, depth {self.depth}"


LOADS = [
    Load(block, write, depth, requests)
    for block, by_depth in (
        (4 * KIB, {1: 6_000, 32: 30_000}),
        (64 * KIB, {1: 3_000, 32: 8_000}),
        (MIB, {1: 400, 32: 600}),
    )
    for write in (False, True)
    for depth, requests in by_depth.items()
]


def goal(load: Load) -> float:
    """What is asked for against stock tgtd, from the measurements that the design rests on."""
    if load.write and load.block_bytes >= 64 * KIB:
        return 2.0
    if not load.write and load.block_bytes <= 64 * KIB and load.depth == 32:
        return 1.3
    return 1.0


def rate(load: Load, urls: Sequence[str]) -> float:
    """Requests per second through QEMU's block layer, summed over disks that are used at the same time.

    The time is qemu-img's own where one disk is used, and from first start to last end where there are several.
    """
    options = ["-f", "raw", "-d", str(load.depth), "-s", str(load.block_bytes), "-c", str(load.requests)]
    argv = ["qemu-img", "bench", *options, *(["-w"] if load.write else [])]
    started_s = time.monotonic()
    runs = [subprocess.Popen([*argv, url], stdout=subprocess.PIPE, text=True) for url in urls]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    elapsed_s = time.monotonic() - started_s
    if any(run.returncode for run in runs):
        raise RuntimeError(f"qemu-img bench failed on {' '.join(urls)}")
    if len(urls) > 1:
        return load.requests * len(urls) / elapsed_s
    found = re.search(r"Run completed in ([\d.]+) seconds", outputs[0])
    if found is None:
        raise RuntimeError(f"qemu-img bench said nothing of its time: {outputs[0]!r}")
    return load.requests / float(found.group(1))


def libiscsi_rate(block_bytes: int, depth: int, urls: Sequence[str], seconds: int = 2) -> float:
    """Reads per second of one disk by libiscsi alone, so many at a time.

    Raises:
        RuntimeError: iscsi-perf printed no rate.
    """
    options = ["-b", str(block_bytes // BLOCK_BYTES), "-m", str(depth), "-t", str(seconds)]
    output = servers.run("iscsi-perf", *options, urls[0])
    rates = re.findall(r"iops average (\d+)", output)
    if not rates:
        raise RuntimeError(f"iscsi-perf said nothing of its rate: {output[-300:]!r}")
    return float(rates[-1])


Measure = Callable[[Sequence[str]], float]


def in_turn(started: dict[str, list[str]], measure: Measure, rounds: int) -> dict[str, list[float]]:
    """Measure each server once a round, in turn."""
    samples: dict[str, list[float]] = {name: [] for name in started}
    for _ in range(rounds):
        for name, urls in started.items():
            samples[name].append(measure(urls))
    return samples


def one_disk(report: Report, image: str, rounds: int) -> None:
    """One disk on each server: the container against stock tgtd, and against the limits."""
    with ExitStack() as stack:
        started = {
            "ours": stack.enter_context(servers.container(image=image)),
            "stock tgtd": stack.enter_context(servers.stock_tgtd()),
            "the raw file": stack.enter_context(servers.raw_file()),
            "nbdkit": stack.enter_context(servers.nbdkit()),
            "published": stack.enter_context(servers.container(image=image, published=True)),
        }
        for load in LOADS:
            samples = in_turn(started, partial(rate, load), rounds)
            ours = samples["ours"]
            report.compare(load.name, "IOPS", ours, "stock tgtd", samples["stock tgtd"], at_least=goal(load))
            for limit in ("the raw file", "nbdkit"):
                report.compare(load.name, "IOPS", ours, limit, samples[limit])
            report.compare(f"{load.name}, published port", "IOPS", samples["published"], "the host's network", ours)
        iscsi = {name: started[name] for name in ("ours", "stock tgtd")}
        for load in (load for load in LOADS if not load.write):
            samples = in_turn(iscsi, partial(libiscsi_rate, load.block_bytes, load.depth), rounds)
            name, theirs = f"iscsi-perf, {load.name}", samples["stock tgtd"]
            report.compare(name, "IOPS", samples["ours"], "stock tgtd", theirs, at_least=1.0)


def two_disks(report: Report, image: str, rounds: int) -> None:
    """Two disks at once: on two shards, on one, and on one stock tgtd."""
    with ExitStack() as stack:
        started = {
            "two shards": stack.enter_context(servers.container(image=image, disks=2, shards=2)),
            "one shard": stack.enter_context(servers.container(image=image, disks=2)),
            "stock tgtd": stack.enter_context(servers.stock_tgtd(disks=2)),
        }
        for load in LOADS:
            samples = in_turn(started, partial(rate, load), rounds)
            for peer, at_least in (("stock tgtd", 1.5), ("one shard", 0.0)):
                name = f"two disks on two shards, {load.name}"
                report.compare(name, "IOPS", samples["two shards"], peer, samples[peer], at_least=at_least)


def flushes(report: Report, image: str) -> None:
    """How many fdatasync(2) of the container's tgtd a number of flushes by QEMU's block layer become."""
    with servers.named_container(image=image) as (name, [url]), servers.scratch() as folder:
        first = int(servers.run("docker", "inspect", "--format", "{{.State.Pid}}", name))
        [tgtd] = [member.pid for member in family(first) if member.name() == "tgtd"]
        trace = folder / "trace"
        argv = ["strace", "-f", "-qq", "-e", "trace=fdatasync", "-o", str(trace), "-p", str(tgtd)]
        with subprocess.Popen(argv) as strace:
            try:
                servers.wait_until(lambda: _traced(tgtd), "strace to attach to tgtd")
                options = ["-w", "-d", "1", "-s", "4096", "-c", str(10 * FLUSHES), "--flush-interval=10"]
                servers.run("qemu-img", "bench", "-f", "raw", *options, url)
            finally:
                strace.terminate()
        calls = float(len(re.findall(r"fdatasync\(", trace.read_text(encoding="utf-8"))))
    goal = f"at least {FLUSHES}"
    report.add(f"fdatasync calls of tgtd for {FLUSHES} flushes", "", [calls], goal=goal, met=calls >= FLUSHES)


def _traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer (proc(5), TracerPid)."""
    statuses = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all("TracerPid:\t0" not in status for status in statuses)


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
@click.option("--image", default="lundock/target", show_default=True)
def main(rounds: int, image: str) -> None:
    report = Report("datapath", " ".join((__doc__ or "").split("\n\n")[2].split()))
    report.versions = {
        "qemu-img": version_of("qemu-img", "--version"),
        "tgtd": version_of("tgtd", "--version"),
        "nbdkit": version_of("nbdkit", "--version"),
    }
    one_disk(report, image, rounds)
    two_disks(report, image, rounds)
    flushes(report, image)
    report.show()
    report.write()


if __name__ == "__main__":
    main()
