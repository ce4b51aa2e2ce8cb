"""How long does `vm-disks xml` take? From files and from a cluster, for 1 and 20 disks.

    python -m bench.resolve [--rounds 15]

Whole processes, from start to exit. From a cluster it is held against what a person would type instead: three
`kubectl get` (claim, volume, Secret), one after the other; one kubectl's time is a third of that. The library's time is
that of `vm_disks.resolve` and the XML, per disk, in a process that has everything imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml

from bench.kube import CLAIMS, VOLUMES, Api
from bench.report import Report
from cluster.components.control_plane import ControlPlane
from vm_disks import resolve, specs
from vm_disks.resolution import lookup
from vm_disks.xml import disk_xml

Json = dict[str, Any]
SECRETS = "/api/v1/namespaces/default/secrets"


def claim(number: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"disk-{number}", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": f"volume-{number}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Bound"},
    }


def volume(number: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": "default", "name": f"disk-{number}"},
            "iscsi": {
                "targetPortal": "192.0.2.1:3260",
                "iqn": f"iqn.2026-11.io.lundock:volume-{number}",
                "lun": 1,
                "chapAuthSession": True,
                "secretRef": {"name": f"chap-{number}", "namespace": "default"},
            },
        },
        "status": {"phase": "Bound"},
    }


def secret(number: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"chap-{number}", "namespace": "default"},
        "type": "kubernetes.io/iscsi-chap",
        "stringData": {
            "node.session.auth.username": f"volume-{number}",
            "node.session.auth.password": "correct-horse-battery",
        },
    }


def vm(disks: int) -> Json:
    names = [f"disk-{number}" for number in range(disks)]
    spec = {
        "domain": {"devices": {"disks": [{"name": name, "disk": {"bus": "virtio"}} for name in names]}},
        "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names],
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm", "namespace": "default"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}},
    }


def seconds(*commands: list[str]) -> float:
    """Wall time of commands one after the other.

    Raises:
        CalledProcessError: one of them failed.
    """
    started_s = time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.monotonic() - started_s


def library_ms(disks: int) -> float:
    """Milliseconds a disk, of parsing the VM, resolving its claims and writing the XML."""
    documents = [make(number) for number in range(disks) for make in (claim, volume, secret)]
    started_s = time.monotonic()
    source = lookup.FromManifests(documents, "default")
    for disk in resolve(specs.read(vm(disks), namespace="default"), source):
        disk_xml.render(disk)
    return (time.monotonic() - started_s) * 1000 / disks


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True)
def main(rounds: int) -> None:
    report = Report("resolve", " ".join((__doc__ or "").split("\n\n")[2].split()))
    vm_disks = [sys.executable, "-m", "vm_disks", "xml"]
    with ControlPlane.alone() as plane, tempfile.TemporaryDirectory() as name:
        api, folder = Api(plane), Path(name)
        for number in range(20):
            api.create(VOLUMES, volume(number))
            api.create(CLAIMS, claim(number))
            api.create(SECRETS, secret(number))
        plane.kubectl("wait", "pvc", "--all", "--for=jsonpath={.status.phase}=Bound", "--timeout=120s")
        kubectl = [str(plane.binaries.path("kubectl")), f"--kubeconfig={plane.kubeconfig}", "get", "-o", "yaml"]
        three = [[*kubectl, what] for what in ("pvc/disk-0", "pv/volume-0", "secret/chap-0")]
        for disks in (1, 20):
            objects = [make(number) for number in range(disks) for make in (claim, volume, secret)]
            (folder / f"{disks}.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
            (folder / f"vm-{disks}.yaml").write_text(yaml.safe_dump(vm(disks)), encoding="utf-8")
            one_size(report, disks, vm_disks, folder, [f"--kubeconfig={plane.kubeconfig}"], three, rounds)
    report.show()
    report.write()


def one_size(
    report: Report,
    disks: int,
    vm_disks: list[str],
    folder: Path,
    cluster: list[str],
    three: list[list[str]],
    rounds: int,
) -> None:
    """Rows for a VM of this many disks."""
    spec = ["-f", str(folder / f"vm-{disks}.yaml")]
    files, clusters, kubectls = [], [], []
    for _ in range(rounds):
        files.append(seconds([*vm_disks, *spec, "-f", str(folder / f"{disks}.yaml")]))
        clusters.append(seconds([*vm_disks, *spec, *cluster]))
        kubectls.append(seconds(*three))
    name = f"{disks} disk{'s' if disks > 1 else ''}"
    row = report.add(f"{name}, from files", "s", files, goal="below 0.3 s")
    row.met = row.median < 0.3
    report.compare(f"{name}, from a cluster", "s", clusters, "three kubectl get", kubectls)
    more = [cluster_s - files_s for cluster_s, files_s in zip(clusters, files, strict=True)]
    row = report.compare(f"{name}, from a cluster, what it takes more", "s", more, "one kubectl get", _thirds(kubectls))
    row.goal, row.met = "below one kubectl's time", statistics.median(row.ratios) < 1
    report.add(f"{name}, library, per disk", "ms", [library_ms(disks) for _ in range(rounds)])


def _thirds(times_s: list[float]) -> list[float]:
    return [time_s / 3 for time_s in times_s]


if __name__ == "__main__":
    main()
