"""What datapath measures: the shipped container and its peers, each started on loopback and stopped again.

Each context manager yields the URLs (or paths) of disks that are full of data and in the page cache, so that
what is measured is the way to the data and not the disk below it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cluster.machine import shell
from cluster.machine.ports import free_ports
from cluster.machine.waiting import wait_for
from target_image.api.client import TargetClient, TargetError
from target_image.api.requests import ExportSpec, Lun, VolumeSpec

DISK_BYTES = 2**30
READY_TIMEOUT_S = 60


run = partial(shell.run, timeout_s=300)
"""Runs a command to its end and returns its stdout: some take minutes here.

Raises:
    CommandFailed: it ended with an error, whose output it carries, or not in its time.
    ToolMissing: there is no such program.
"""


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it says what did not happen.
    """
    if not wait_for(condition, timeout_s):
        raise TimeoutError(f"{what} did not happen within {timeout_s:.0f} s")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fill(disk: str, size_bytes: int = DISK_BYTES) -> None:
    """Write a pattern over the whole disk: reads of a hole would measure nothing."""
    run("qemu-img", "bench", "-f", "raw", "-w", "-s", "1M", "-d", "8", "-c", str(size_bytes // 2**20), disk)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the file system that Docker's volumes are on, so that peers are measured on the same disk."""
    base = Path("/var/lib/docker") if os.access("/var/lib/docker", os.W_OK) else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="lundock-bench-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def raw_file() -> Iterator[list[str]]:
    """No network at all: the limit."""
    with scratch() as folder:
        disk = folder / "disk.raw"
        run("truncate", "-s", str(DISK_BYTES), disk)
        fill(str(disk))
        yield [str(disk)]


@contextmanager
def nbdkit() -> Iterator[list[str]]:
    """nbdkit's file plugin over TCP: the other way to reach a disk from user space."""
    port = free_ports()
    with scratch() as folder:
        disk = folder / "disk.raw"
        run("truncate", "-s", str(DISK_BYTES), disk)
        with subprocess.Popen(["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "file", str(disk)]) as daemon:
            try:
                wait_until(lambda: answers(port), "nbdkit's start")
                url = f"nbd://127.0.0.1:{port}"
                fill(url)
                yield [url]
            finally:
                daemon.terminate()


@contextmanager
def stock_tgtd(disks: int = 1) -> Iterator[list[str]]:
    """Debian's tgtd as a person starts it: 16 threads a LUN, default session parameters, one process."""
    port, number = free_ports(), str(20_000 + os.getpid() % 10_000)
    with scratch() as folder:
        environment = {"TGT_IPC_SOCKET": str(folder / "ipc")}

        def tgtadm(*argv: str) -> None:
            run("tgtadm", "-C", number, *argv, environment=environment)

        daemon = subprocess.Popen(
            ["tgtd", "-f", "-C", number, "--iscsi", f"portal=127.0.0.1:{port}"],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: (folder / f"ipc.{number}").exists() and daemon.poll() is None, "tgtd's start")
            urls = []
            for tid in range(1, disks + 1):
                disk, iqn, target = folder / f"{tid}.raw", f"iqn.2026-11.io.lundock:stock{tid}", ("--tid", str(tid))
                run("truncate", "-s", str(DISK_BYTES), disk)
                tgtadm("--op", "new", "--mode", "target", *target, "-T", iqn)
                tgtadm("--op", "new", "--mode", "logicalunit", *target, "--lun", "1", "-b", str(disk))
                tgtadm("--op", "bind", "--mode", "target", *target, "-I", "ALL")
                urls.append(f"iscsi://127.0.0.1:{port}/{iqn}/1")
            for url in urls:
                fill(url)
            yield urls
        finally:
            daemon.kill()  # SIGTERM does nothing to tgtd
            daemon.wait()


@contextmanager
def container(*, image: str, disks: int = 1, shards: int = 1, published: bool = False) -> Iterator[list[str]]:
    """The shipped container with one export a disk, on the host's network or behind a published port."""
    with named_container(image=image, disks=disks, shards=shards, published=published) as (_name, urls):
        yield urls


@contextmanager
def named_container(
    *, image: str, disks: int = 1, shards: int = 1, published: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """As `container`, with its name for docker(1) before the URLs."""
    iscsi, api = free_ports(shards), free_ports()
    name, token = f"lundock-bench-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    settings = {"SHARDS": shards, "API_ADDRESS": "0.0.0.0", "TOKEN_FILE": "/run/token/token", "OVERCOMMIT_RATIO": 10}  # noqa: S104
    if published:
        ports = [(iscsi + shard, 3260 + shard) for shard in range(shards)] + [(api, 8081)]
        network = [word for ours, theirs in ports for word in ("-p", f"127.0.0.1:{ours}:{theirs}")]
    else:
        network = ["--network", "host"]
        settings |= {"ISCSI_PORT": iscsi, "API_PORT": api, "PAGE_PORT": free_ports(), "METRICS_PORT": free_ports()}
    environment = [word for key, value in settings.items() for word in ("-e", f"LUNDOCK_{key}={value}")]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "token").write_text(token, encoding="utf-8")
        mount = ["-v", f"{folder}:/run/token:ro"]
        run("docker", "run", "-d", "--rm", "--name", name, *network, *mount, *environment, image, "serve")
        try:
            client = TargetClient(f"http://127.0.0.1:{api}", token=token)
            wait_until(lambda: _serves(client), "the agent's start")
            urls = [_export(client, f"disk{n}", iscsi) for n in range(disks)]
            for url in urls:
                fill(url)
            yield name, urls
        finally:
            run("docker", "rm", "-f", "-v", name)


def _serves(client: TargetClient) -> bool:
    """Whether the agent answers; a published port takes connections before anybody listens behind it."""
    try:
        return bool(client.capabilities())
    except TargetError:
        return False


def _export(client: TargetClient, name: str, first_port: int) -> str:
    """Make a disk and return its URL. A volume's shard is the port it is reached at."""
    client.ensure_volume(name, VolumeSpec(size_bytes=DISK_BYTES))
    wait_until(lambda: (volume := client.get_volume(name)) is not None and volume.phase == "ready", f"volume {name}")
    export = client.ensure_export(name, ExportSpec(luns=[Lun(lun=1, volume=name)]))
    return f"iscsi://127.0.0.1:{first_port + export.shard}/{export.iqn}/1"
