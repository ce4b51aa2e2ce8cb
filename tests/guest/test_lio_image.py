"""The image over the guest's LIO, with what `docker run --privileged` of docs/how-to/lio.md gives it.

There is no Docker in the guest: the same mounts, and a root of its own, are made by hand. A privileged container has no
other fence (all capabilities, no seccomp filter, the host's devices and, there, its network).
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import images
from tests.capabilities import need
from tests.guest.initiator import IscsiVolume, attach, detach, format_and_mount
from tests.guest.machine import HOST, Machine

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = "/srv/image"
MOUNTS = f"""
mkdir -p /var/target
mount --rbind /sys {ROOT}/sys
mount --rbind /dev {ROOT}/dev
mount -t proc proc {ROOT}/proc
mkdir -p {ROOT}/lib/modules {ROOT}/var/target
mount --bind -o ro /lib/modules {ROOT}/lib/modules
mount --bind /var/target {ROOT}/var/target
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over HTTP on this machine's loopback. Gives the URL that the guest uses."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def unpack(guest: Machine, image: str, folder: Path) -> None:
    """The image's files at ROOT in the guest."""
    container = subprocess.check_output(["docker", "create", image], text=True, timeout=60).strip()
    try:
        subprocess.run(["docker", "export", "-o", folder / "image.tar", container], check=True, timeout=120)
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True, timeout=60)
    copy = "import shutil, sys, urllib.request as u; shutil.copyfileobj(u.urlopen(sys.argv[1]), sys.stdout.buffer)"
    with served(folder) as url:
        guest.run(f"mkdir {ROOT} && python3 -c '{copy}' {url}/image.tar | tar -x -C {ROOT}", timeout_s=600)


def test_the_image_serves_the_kernels_target(guest: Machine, tmp_path: Path) -> None:
    need("docker")
    unpack(guest, images.build("lundock/target", print), tmp_path)
    inside = f"env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot {ROOT}"
    command = f"{inside} lundock-target --timeout 60"
    guest.run(MOUNTS)
    guest.run(f"{inside} tini -- lundock-target serve --engine lio >/tmp/image.log 2>&1 & echo $! >/tmp/image.pid")
    try:
        guest.until(f"{command} status || {{ cat /tmp/image.log; false; }}", timeout_s=300)
        guest.run(f"{command} volumes create disk --size 256Mi")
        guest.run(f"{command} exports create disk --volume disk")
        volume = IscsiVolume(("127.0.0.1:3260",), "iqn.2026-11.io.lundock:disk", 1, "", "")
        [device] = attach(guest, volume)
        format_and_mount(guest, device, "/mnt/volume")
        guest.run("echo kept >/mnt/volume/file && umount /mnt/volume")
        detach(guest, volume)
        guest.run("kill $(cat /tmp/image.pid)")
        guest.until("! test -e /proc/$(cat /tmp/image.pid)", timeout_s=60)
        assert "iqn." not in guest.run("ls /sys/kernel/config/target/iscsi").stdout
    finally:
        guest.run(f"kill -9 $(cat /tmp/image.pid); umount -R {ROOT}/sys {ROOT}/dev {ROOT}/proc", check=False)
