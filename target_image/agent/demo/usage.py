"""The commands that reach a LUN, for the log's banner and the page. Pure; never with a password."""

from __future__ import annotations

from dataclasses import dataclass

from lundock_common.portal import Portal


@dataclass(frozen=True)
class Command:
    """What it does, and the line to copy."""

    purpose: str
    line: str


def commands(portal: Portal, iqn: str, lun: int, username: str | None = None) -> list[Command]:
    """Boot it, attach it, look at it, log in. With CHAP, iscsi-ls and QEMU take it from the environment."""
    # virsh splits host and port at the first colon, so it cannot be told an IPv6 address.
    source = f"--sourcetype network --source-protocol iscsi --source-host-name {portal.host}:{portal.port}"
    attach = Command("attach it to a VM of libvirt", f"virsh attach-disk VM {iqn}/{lun} vdb {source}")
    at = portal.short()
    chap = [] if username is None else [Command("CHAP for qemu and iscsi-ls", _chap_line(username))]
    return [
        *chap,
        Command(
            "boot it",
            f"qemu-system-x86_64 -snapshot -nographic -drive file=iscsi://{at}/{iqn}/{lun}",
        ),
        Command("list the LUNs", f"iscsi-ls -s iscsi://{at}"),
        Command("find the target", f"iscsiadm --mode discovery -t sendtargets --portal {at}"),
        *([] if ":" in portal.host else [attach]),
    ]


def _chap_line(username: str) -> str:
    return f"export LIBISCSI_CHAP_USERNAME={username} LIBISCSI_CHAP_PASSWORD='<the password>'"
