"""What this machine can do, and the one way for a test to ask for it.

A missing capability skips the test with a reason; `./test` prints all of them at its end. With
LUNDOCK_REQUIRE_ALL=1 (set by `.ci/run`) a missing capability fails instead: nothing may hide in a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


def _command(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _docker() -> bool:
    if not _command("docker")():
        return False
    answer = subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False)
    return answer.returncode == 0


def compose() -> str:
    """Compose's version 2 or, as on Debian 12, version 1."""
    answer = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
    return "docker compose" if answer.returncode == 0 else "docker-compose"


def _compose() -> bool:
    return _docker() and (compose() == "docker compose" or _command("docker-compose")())


def _qemu_iscsi() -> bool:
    return any(Path("/usr/lib").glob("*/qemu/block-iscsi.so"))


def _demo_disk_tools() -> bool:
    packages = ("busybox", "cpio", "depmod", "mcopy", "syslinux")
    boot_loader = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    return boot_loader.exists() and all(_command(name)() for name in packages)


PROBES: dict[str, tuple[Callable[[], bool], str]] = {
    "tgtd": (_command("tgtd"), "tgtd is not installed (Debian package tgt)"),
    "tgtadm": (_command("tgtadm"), "tgtadm is not installed (Debian package tgt)"),
    "docker": (_docker, "no Docker engine answers `docker info`"),
    "compose": (_compose, "Docker has no Compose (Debian package docker-compose)"),
    "docker-registry": (
        _command("docker-registry"),
        "docker-registry is not installed (Debian package docker-registry)",
    ),
    "qemu": (_command("qemu-system-x86_64"), "qemu-system-x86_64 is not installed (Debian package qemu-system-x86)"),
    "qemu-img": (_command("qemu-img"), "qemu-img is not installed (Debian package qemu-utils)"),
    "qemu-iscsi": (_qemu_iscsi, "QEMU's iSCSI driver is not installed (Debian package qemu-block-extra)"),
    "iscsi-ls": (_command("iscsi-ls"), "libiscsi's tools are not installed (Debian package libiscsi-bin)"),
    "iscsi-test-cu": (_command("iscsi-test-cu"), "iscsi-test-cu is not installed (Debian package libiscsi-bin)"),
    "libvirtd": (_command("libvirtd"), "libvirtd is not installed (Debian package libvirt-daemon-system)"),
    "virt-xml-validate": (
        _command("virt-xml-validate"),
        "virt-xml-validate is not installed (Debian package libvirt-clients)",
    ),
    "containerd": (_command("containerd"), "containerd is not installed (Debian package containerd)"),
    "chromium": (_command("chromium"), "chromium is not installed (Debian package chromium)"),
    "debootstrap": (_command("debootstrap"), "debootstrap is not installed (Debian package debootstrap)"),
    "syslinux": (_command("syslinux"), "syslinux is not installed (Debian package syslinux)"),
    "xorriso": (_command("xorriso"), "xorriso is not installed (Debian package xorriso)"),
    "mtools": (_command("mformat"), "mformat is not installed (Debian package mtools)"),
    "demo-disk-tools": (
        _demo_disk_tools,
        "the demo disk's tools are not installed (Debian packages busybox-static cpio kmod mtools syslinux "
        "systemd-boot-efi)",
    ),
    "ovmf": (lambda: Path("/usr/share/ovmf/OVMF.fd").exists(), "UEFI firmware is not installed (Debian package ovmf)"),
    "btrfs": (_command("mkfs.btrfs"), "mkfs.btrfs is not installed (Debian package btrfs-progs)"),
    "gcc": (_command("gcc"), "gcc is not installed"),
    "iptables": (_command("iptables"), "iptables is not installed"),
    "root": (lambda: os.geteuid() == 0, "needs root"),
}


@cache
def has(capability: str) -> bool:
    return PROBES[capability][0]()


def need(*capabilities: str) -> None:
    """Skip the calling test or module unless the machine has all of these, naming what is missing."""
    missing = [PROBES[capability][1] for capability in capabilities if not has(capability)]
    if not missing:
        return
    if os.environ.get("LUNDOCK_REQUIRE_ALL") == "1":
        pytest.fail("; ".join(missing), pytrace=False)
    pytest.skip("; ".join(missing), allow_module_level=True)
