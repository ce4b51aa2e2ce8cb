"""How long does a copy of a volume take? With reflink, as a sparse copy, and by the tools one would use otherwise.

    python -m bench.clone [--sizes-gib 1,10,50] [--rounds 5]

The source holds 512 MiB of data whatever its size, as an installed image does. The store's own code copies it (as for
a volume from an image or from a claim, which are the same there), on the file system of Docker's data (sparse copy) and
on an XFS in a loop-mounted file (reflink); beside it `qemu-img convert`, up to 10 GiB `cp --sparse=never`, and `cp` of
a file that is these 512 MiB and nothing else: the cost of the data that is there. Every copy is synced before it counts
as done.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.report import Report, version_of
from bench.servers import run, scratch
from target_image.agent.backing import Address
from target_image.agent.stores.sparse_file import SparseFileStore

GIB, MIB = 2**30, 2**20
DATA_BYTES = 512 * MIB
PLAIN_COPY_LIMIT_GIB = 10
DATA_ALONE = "cp of the data alone"
NOISE = 1.25
"""Two equal copies differ by this much on these disks; a ratio below it is no more than the same."""


@contextmanager
def xfs(folder: Path, size_bytes: int) -> Iterator[Path]:
    """An XFS with reflink in a sparse file, mounted for a while. Needs root."""
    image, mount = folder / "xfs.img", folder / "xfs"
    mount.mkdir()
    run("truncate", "-s", str(size_bytes), image)
    run("mkfs.xfs", "-q", "-m", "reflink=1", image)
    run("mount", "-o", "loop", image, mount)
    try:
        yield mount
    finally:
        run("umount", mount)


def make_source(path: Path, size_bytes: int) -> None:
    """A disk whose 512 MiB of data lie in 64 pieces across it."""
    pieces, piece = 64, os.urandom(DATA_BYTES // 64)
    with path.open("wb") as disk:
        for number in range(pieces):
            disk.seek(size_bytes // pieces * number)
            disk.write(piece)
        disk.truncate(size_bytes)
        os.fsync(disk.fileno())


def timed(copy: Callable[[Path], None], target: Path) -> float:
    """Seconds until the copy is on the disk. The copy is removed again."""
    os.sync()
    started_s = time.monotonic()
    copy(target)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    elapsed_s = time.monotonic() - started_s
    target.unlink()
    return elapsed_s


def store_copy(store: SparseFileStore, source: Path) -> Callable[[Path], None]:
    def copy(target: Path) -> None:
        size_bytes = source.stat().st_size
        store.fill(target.stem, Address.of_file(source), size_bytes, thin=True, progress=lambda _bytes_done: None)

    return copy


@click.command(help=__doc__)
@click.option("--sizes-gib", default="1,10,50", show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(sizes_gib: str, rounds: int) -> None:
    report = Report("clone", " ".join((__doc__ or "").split("\n\n")[2].split()))
    report.versions = {"qemu-img": version_of("qemu-img", "--version"), "XFS": version_of("mkfs.xfs", "-V")}
    sizes = [int(size) for size in sizes_gib.split(",")]
    with scratch() as folder, xfs(folder, 2 * max(sizes) * GIB) as reflinking:
        for size_gib in sizes:
            one_size(report, size_gib, rounds, SparseFileStore(folder), SparseFileStore(reflinking))
    report.show()
    report.write()


def one_size(report: Report, size_gib: int, rounds: int, sparse: SparseFileStore, reflink: SparseFileStore) -> None:
    """Copies of one size by every way, in turn."""
    ways: dict[str, tuple[SparseFileStore, Callable[[Path, Path], object] | None]] = {
        "reflink": (reflink, None),
        "sparse copy": (sparse, None),
        "qemu-img convert": (sparse, lambda a, b: run("qemu-img", "convert", "-f", "raw", "-O", "raw", a, b)),
    }
    data = sparse.address("data-alone").as_file()
    ways[DATA_ALONE] = (sparse, lambda _source, b: run("cp", "--sparse=never", data, b))
    if size_gib <= PLAIN_COPY_LIMIT_GIB:
        ways["plain copy"] = (sparse, lambda a, b: run("cp", "--sparse=never", a, b, timeout_s=1800))
    sources = {}
    for store in (sparse, reflink):
        sources[store] = store.address(f"source-{size_gib}").as_file()
        sources[store].parent.mkdir(parents=True, exist_ok=True)
        make_source(sources[store], size_gib * GIB)
    make_source(data, DATA_BYTES)
    samples: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (store, tool) in ways.items():
            source = sources[store]
            copy = store_copy(store, source) if tool is None else (lambda b, a=source, tool=tool: tool(a, b))
            samples[way].append(timed(copy, store.address("copy").as_file()))
    for source in (*sources.values(), data):
        source.unlink()
    for way, seconds in samples.items():
        versus = DATA_ALONE if way == "sparse copy" else "sparse copy"
        row = report.compare(f"{size_gib} GiB, {way}", "s", seconds, versus, samples[versus])
        if way == "reflink":
            row.goal, row.met = "below 0.1 s", statistics.median(seconds) < 0.1
        if way == "sparse copy":
            row.goal = f"no more than the data's own cost (within {NOISE:g} times)"
            row.met = statistics.median(row.ratios) <= NOISE


if __name__ == "__main__":
    main()
