"""Builds the guest's root disk, once, into the user's cache.

The root is a debootstrap of Debian with the cloud kernel, open-iscsi and the Python libraries of the agent. It holds
none of our source: that comes on a second disk at boot (`machine.py`), so that a change of it needs no new root.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
DISK_SIZE = "4G"
BUILD_TIMEOUT_S = 900

PACKAGES = (
    "linux-image-cloud-amd64",  # target_core_*, iscsi_target_mod, iscsi_tcp, dm-multipath, xfs
    "initramfs-tools",
    "zstd",
    "kmod",
    "udev",
    "iproute2",
    "python3",
    "libudev1",  # rtslib-fb's pyudev
    "open-iscsi",
    "multipath-tools",
    "libiscsi-bin",
    "qemu-utils",  # qemu-io with its iSCSI driver: the initiator of the contract tests
    "qemu-block-extra",
    "sg3-utils",
    "e2fsprogs",
    "xfsprogs",
    "ca-certificates",
    "containerd",  # for a kubelet in the guest
    "runc",
    "iptables",
)

TEST_REQUIREMENTS = ("pytest", "pytest-timeout", "hypothesis", "psutil", "tenacity")
"""Of the tests that run in the guest, and of the parts of cluster/ that do."""

INIT = """\
#!/bin/sh
# The disk's only own code: everything else comes with the source, on the second disk.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /srv/lundock
tar -C /srv/lundock -xf /dev/vdb || echo "guest: no source on /dev/vdb"
exec sh /srv/lundock/tests/guest/init.sh
"""


@dataclass(frozen=True)
class RootDisk:
    """What QEMU boots. The disk is never written to: every machine gets an overlay of its own."""

    disk: Path
    kernel: Path
    initrd: Path


def root_disk() -> RootDisk:
    """The root disk from the cache, built first if needed (about two minutes). Needs root and debootstrap."""
    requirements = _requirements()
    key = hashlib.sha256(Path(__file__).read_bytes() + repr(requirements).encode()).hexdigest()[:12]
    cache = cache_folder()
    folder = cache / f"guest-{key}"
    with locked("guest-build"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix="new-guest-", dir=cache) as work:
                _build(Path(work), requirements)
                for outdated in cache.glob("guest-*/"):
                    shutil.rmtree(outdated)  # a machine that runs from it keeps its open files
                (Path(work) / "done").rename(folder)
    return RootDisk(folder / "root.img", folder / "vmlinuz", folder / "initrd.img")


def cache_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lundock"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """Alone on this machine with `what`."""
    with (cache_folder() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _requirements() -> tuple[str, ...]:
    """What the agent with LIO needs at run time, from the distribution's own metadata."""
    wanted = []
    for requirement in requires("lundock") or []:
        name, _, marker = requirement.partition(";")
        if not marker or any(f'"{extra}"' in marker for extra in ("target", "lio")):
            wanted.append(name.strip())
    return (*sorted(set(wanted)), *TEST_REQUIREMENTS)


def _build(work: Path, requirements: tuple[str, ...]) -> None:
    root, done = work / "root", work / "done"
    done.mkdir()
    _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), MIRROR)
    # pip's target folder is the host's work: the wheels fit, since host and guest both run CPython 3.11 on glibc.
    libraries = root / "opt" / "lundock" / "libraries"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--python-version", "3.11")
    _run(*pip, "--only-binary=:all:", "--target", str(libraries), *requirements)
    (root / "sbin" / "lundock-init").write_text(INIT)
    (root / "sbin" / "lundock-init").chmod(0o755)
    # Configured for machines that boot it for minutes: no package cache, no documentation.
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / waste, ignore_errors=True)
    for kind in ("vmlinuz", "initrd.img"):
        newest = max((root / "boot").glob(f"{kind}-*"))
        shutil.copy(newest, done / kind)
    _run("mke2fs", "-q", "-t", "ext4", "-r", "1", "-d", str(root), str(done / "root.img"), DISK_SIZE)


def _run(*argv: str) -> None:
    result = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-20:])
        raise RuntimeError(f"building the guest's root disk: {argv[0]} ended with {result.returncode}:\n{tail}")


if __name__ == "__main__":
    print(root_disk().disk)
