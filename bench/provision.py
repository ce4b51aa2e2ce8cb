"""How fast do claims become volumes? Bursts of claims on a real control plane, and one claim alone.

    python -m bench.provision [--claims 200] [--rounds 3]

Lundock makes real LUNs (ledger synced, tgt target with CHAP, Secret, PV). csi-provisioner makes nothing: its driver
answers at once. The floor is what kube-controller-manager needs to bind PVs that are made beside their claims. Each
round runs all contenders one after the other, each on a fresh control plane of etcd, kube-apiserver and
kube-controller-manager (--kube-api-qps=500: at its default of 20 nothing else could be seen).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import click

from bench import provisioners
from bench.kube import CLAIMS, VOLUMES, Api, Json, Watch
from bench.provisioners import Provisioner
from bench.report import Report
from bench.servers import wait_until
from cluster.components.control_plane import ControlPlane

Start = Callable[[ControlPlane], AbstractContextManager[Provisioner]]

CONTENDERS: dict[str, Start] = {
    "lundock": provisioners.lundock,
    "csi-provisioner, tuned": lambda plane: provisioners.csi_provisioner(
        plane, "--kube-api-qps=100", "--kube-api-burst=200"
    ),
    "csi-provisioner, defaults": provisioners.csi_provisioner,
    "floor": provisioners.floor,
}


@dataclass(frozen=True)
class Burst:
    """One burst's times in seconds."""

    total_s: float
    to_volume_s: list[float]
    to_bound_s: list[float]
    deleted_s: float
    cpu_s: dict[str, float]
    peak_mib: dict[str, float]

    @property
    def claims_per_s(self) -> float:
        return len(self.to_volume_s) / self.total_s


def claim(name: str, storage_class: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def _claim_of(volume: Json) -> str | None:
    return (volume["spec"].get("claimRef") or {}).get("name")


def _bound(claim: Json) -> str | None:
    name = claim["metadata"]["name"]
    return str(name) if claim.get("status", {}).get("phase") == "Bound" else None


def burst(api: Api, contender: Provisioner, count: int, prefix: str = "claim") -> Burst:
    """Make this many claims at once, wait until all are Bound, delete them and wait until nothing is left.

    Raises:
        TimeoutError: that takes more than ten minutes.
    """
    volumes, bound = Watch(api, VOLUMES, _claim_of), Watch(api, CLAIMS, _bound)
    before = contender.cpu_seconds()
    created: dict[str, float] = {}

    def create(name: str) -> None:
        manifest = claim(name, contender.storage_class)
        created[name] = time.monotonic()
        stored = api.create(CLAIMS, manifest)
        if contender.prepare is not None:
            contender.prepare(api, stored)

    names = [f"{prefix}-{number}" for number in range(count)]
    try:
        api.each(create, names)
        volumes.wait(count, timeout_s=600)
        bound.wait(count, timeout_s=600)
    finally:
        volumes.close()
        bound.close()
    cpu_s = {name: total - before[name] for name, total in contender.cpu_seconds().items()}
    deleting_s = time.monotonic()
    api.each(lambda name: api.delete(f"{CLAIMS}/{name}"), names)
    if contender.prepare is not None:
        api.each(lambda name: api.delete(f"{VOLUMES}/static-{name}"), names)
    wait_until(lambda: not api.get(f"{VOLUMES}?limit=1")["items"], "the PersistentVolumes' deletion", timeout_s=600)
    return Burst(
        total_s=max(bound.seen.values()) - min(created.values()),
        to_volume_s=[volumes.seen[name] - created[name] for name in names],
        to_bound_s=[bound.seen[name] - volumes.seen[name] for name in names],
        deleted_s=time.monotonic() - deleting_s,
        cpu_s=cpu_s,
        peak_mib=contender.peak_mib(),
    )


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def measure(count: int, rounds: int) -> tuple[dict[str, list[Burst]], list[float]]:
    """Bursts by contender, and the times in which single claims of ours were Bound."""
    results: dict[str, list[Burst]] = {name: [] for name in CONTENDERS}
    alone: list[float] = []
    for _ in range(rounds):
        for name, start in CONTENDERS.items():
            with ControlPlane.alone() as plane, start(plane) as contender:
                api = Api(plane)
                burst(api, contender, 2, prefix="warm")
                if name == "lundock":
                    alone += [_alone(api, contender, n) for n in range(10)]
                results[name].append(burst(api, contender, count))
    return results, alone


def _alone(api: Api, contender: Provisioner, number: int) -> float:
    bound, name = Watch(api, CLAIMS, _bound), f"alone-{number}"
    started_s = time.monotonic()
    api.create(CLAIMS, claim(name, contender.storage_class))
    bound.wait(1, timeout_s=60)
    bound.close()
    api.delete(f"{CLAIMS}/{name}")
    return bound.seen[name] - started_s


def fill(report: Report, results: dict[str, list[Burst]], alone: list[float]) -> None:
    """Rows of all contenders, and the goals: faster than the best of csi-provisioner, within a tenth of the floor."""
    ours, tuned, floor = (results[name] for name in ("lundock", "csi-provisioner, tuned", "floor"))
    for name, bursts in results.items():
        report.add(f"{name}: claims", "1/s", [each.claims_per_s for each in bursts])
        for what, times in (("claim to PV", "to_volume_s"), ("PV to Bound", "to_bound_s")):
            report.add(f"{name}: {what}, p50", "s", [statistics.median(getattr(each, times)) for each in bursts])
            report.add(f"{name}: {what}, p99", "s", [p99(getattr(each, times)) for each in bursts])
        report.add(f"{name}: all deleted", "s", [each.deleted_s for each in bursts])
        for process in bursts[0].cpu_s:
            report.add(f"{name}: CPU of {process}", "s", [each.cpu_s[process] for each in bursts])
            report.add(f"{name}: peak memory of {process}", "MiB", [each.peak_mib[process] for each in bursts])
    p50, theirs = ([statistics.median(each.to_volume_s) for each in bursts] for bursts in (ours, tuned))
    row = report.compare("claim to PV, p50, lundock", "s", p50, "csi-provisioner, tuned", theirs)
    row.goal, row.met = "below 1 times csi-provisioner, tuned", statistics.median(row.ratios) < 1
    totals = [[each.total_s for each in bursts] for bursts in (ours, floor)]
    row = report.compare("all Bound, lundock", "s", totals[0], "the floor", totals[1])
    row.goal, row.met = "at most 1.1 times the floor", statistics.median(row.ratios) <= 1.1
    report.add("one claim alone, Bound", "s", alone, goal="below 0.1 s", met=statistics.median(alone) < 0.1)


@click.command(help=__doc__)
@click.option("--claims", default=200, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(claims: int, rounds: int) -> None:
    report = Report(f"provision-{claims}", " ".join((__doc__ or "").split("\n\n")[2].split()))
    report.versions = {"csi-provisioner": provisioners.build_csi().name, "Kubernetes": "v1.34.2"}
    fill(report, *measure(claims, rounds))
    report.show()
    report.write()


if __name__ == "__main__":
    main()
