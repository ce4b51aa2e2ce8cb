"""The commands that reach a LUN, for the log's banner and the page. Pure; never with a password."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORT = 3260


@dataclass(frozen=True)
class Command:
    """What it does, and the line to copy."""

    purpose: str
    line: str


@dataclass(frozen=True)
class Portal:
    """Where initiators reach the target: a host, IPv6 without brackets, and a port."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Portal:
        """`host`, `host:port`, `[IPv6]:port` or an IPv6 address.

        Raises:
            ValueError: There is no host, or the port is no number between 1 and 65535.
        """
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = rest.removeprefix(":")
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        else:
            host, port = text, ""
        if not host or (port and not 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is no host or host:port")
        return cls(host, int(port or DEFAULT_PORT))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"


def commands(portal: Portal, iqn: str, lun: int, username: str | None = None) -> list[Command]:
    """Boot it, attach it, look at it, log in. With CHAP, iscsi-ls and QEMU take it from the environment."""
    # virsh splits host and port at the first colon, so it cannot be told an IPv6 address.
    source = f"--sourcetype network --source-protocol iscsi --source-host-name {portal.host}:{portal.port}"
    attach = Command("attach it to a VM of libvirt", f"virsh attach-disk VM {iqn}/{lun} vdb {source}")
    chap = [] if username is None else [Command("CHAP for qemu and iscsi-ls", _chap_line(username))]
    return [
        *chap,
        Command(
            "boot it",
            f"qemu-system-x86_64 -snapshot -nographic -drive file=iscsi://{portal}/{iqn}/{lun}",
        ),
        Command("list the LUNs", f"iscsi-ls -s iscsi://{portal}"),
        Command("find the target", f"iscsiadm --mode discovery -t sendtargets --portal {portal}"),
        *([] if ":" in portal.host else [attach]),
    ]


def _chap_line(username: str) -> str:
    return f"export LIBISCSI_CHAP_USERNAME={username} LIBISCSI_CHAP_PASSWORD='<the password>'"
