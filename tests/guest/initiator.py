"""The kernel's initiator as kubelet drives it.

The steps are those of kubelet's in-tree plugin (kubernetes v1.34, pkg/volume/iscsi/iscsi_util.go, AttachDisk, and
mount-utils' FormatAndMount): a discovery record, CHAP on the node record only, a login that scans nothing by itself, a
scan for the one LUN, the device by its path.
"""

from __future__ import annotations

import base64
import shlex
import socket
from dataclasses import dataclass
from typing import Any, Self

from tests.guest.machine import Machine


@dataclass(frozen=True)
class IscsiVolume:
    """The part of a PersistentVolume's spec.iscsi and its Secret that a node uses."""

    portals: tuple[str, ...]
    iqn: str
    lun: int = 1
    username: str = ""
    password: str = ""
    mutual_username: str = ""
    mutual_password: str = ""

    @classmethod
    def of(cls, persistent_volume: dict[str, Any], secret: dict[str, Any] | None) -> Self:
        """From the objects of the Kubernetes API."""
        source = persistent_volume["spec"]["iscsi"]
        data = {} if secret is None else {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
        return cls(
            portals=(source["targetPortal"], *source.get("portals", [])),
            iqn=source["iqn"],
            lun=source["lun"],
            username=data.get("node.session.auth.username", ""),
            password=data.get("node.session.auth.password", ""),
            mutual_username=data.get("node.session.auth.username_in", ""),
            mutual_password=data.get("node.session.auth.password_in", ""),
        )

    def device(self, portal: str) -> str:
        return f"/dev/disk/by-path/ip-{portal}-iscsi-{self.iqn}-lun-{self.lun}"


def own_address() -> str:
    """An address of this machine that the guest's connections arrive at as it is: SendTargets answers with it.

    10.0.2.2 would arrive at 127.0.0.1, where a node cannot log in.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # no packet is sent: this only asks for the route
        return str(probe.getsockname()[0])


def discover(guest: Machine, portal: str) -> list[str]:
    """The lines of SendTargets: `portal,tag iqn`."""
    record = f"iscsiadm -m discoverydb -t sendtargets -p {portal} -I default"
    guest.run(f"{record} -o new")
    return guest.run(f"{record} --discover").stdout.splitlines()


def attach(guest: Machine, volume: IscsiVolume) -> list[str]:
    """Discover, log in and scan at every portal. Returns the devices, one a portal."""
    for portal in volume.portals:
        discover(guest, portal)
        node = _node(volume, portal)
        settings = {"node.session.scan": "manual"}
        if volume.username:
            settings |= {
                "node.session.auth.authmethod": "CHAP",
                "node.session.auth.username": volume.username,
                "node.session.auth.password": volume.password,
            }
        if volume.mutual_username:
            settings |= {
                "node.session.auth.username_in": volume.mutual_username,
                "node.session.auth.password_in": volume.mutual_password,
            }
        for name, value in settings.items():
            guest.run(f"{node} -o update -n {name} -v {shlex.quote(value)}")
        guest.run(f"{node} --login")
        guest.run(f"{node} -o update -n node.startup -v manual")
        guest.run(
            "for session in /sys/class/iscsi_session/session*; do"
            f" [ $(cat $session/targetname) = {volume.iqn} ] || continue;"
            " host=$(readlink -f $session/device); host=${host%/session*};"
            f' echo "0 0 {volume.lun}" >/sys/class/scsi_host/${{host##*/}}/scan; done'
        )
        guest.until(f"test -b {volume.device(portal)}", timeout_s=90)
    return [volume.device(portal) for portal in volume.portals]


def format_and_mount(guest: Machine, device: str, folder: str, fs_type: str = "ext4") -> None:
    """mkfs where there is no file system yet, then mount."""
    flags = "-q -f" if fs_type == "xfs" else "-q -F -m0"
    guest.run(f"blkid -p {device} || mkfs.{fs_type} {flags} {device}")
    guest.run(f"mkdir -p {folder} && mount -t {fs_type} -o defaults {device} {folder}")


def detach(guest: Machine, volume: IscsiVolume) -> None:
    """Log out everywhere and forget the records. Succeeds if it is not attached."""
    for portal in volume.portals:
        guest.run(f"{_node(volume, portal)} --logout; {_node(volume, portal)} -o delete", check=False)
        guest.run(f"iscsiadm -m discoverydb -t sendtargets -p {portal} -o delete", check=False)


def _node(volume: IscsiVolume, portal: str) -> str:
    return f"iscsiadm -m node -p {portal} -T {volume.iqn} -I default"
