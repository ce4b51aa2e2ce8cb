"""The image over the guest's LIO, with what `docker run --privileged` of docs/how-to/lio.md gives it.

There is no Docker in the guest: the same mounts, and a root of its own, are made by hand. A privileged container has no
other fence (all capabilities, no seccomp filter, the host's devices and, there, its network).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.components import images
from tests.capabilities import need
from tests.guest.files import send, unpack
from tests.guest.initiator import IscsiVolume, attach, detach, format_and_mount
from tests.guest.machine import Machine

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


def test_the_image_serves_the_kernels_target(guest: Machine, tmp_path: Path) -> None:
    need("docker")
    image = images.build("lundock/target", print)
    send(guest, unpack(image, tmp_path / "image.tar"), f"(mkdir {ROOT} && tar -x -C {ROOT})")
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
