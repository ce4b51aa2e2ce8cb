"""A network namespace with one link to this host, which can be cut as a cable is: packets are dropped."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.provisioner.stage import TargetProcess

NETWORK = "198.19"
"""In 198.18.0.0/15, which is for tests of network devices (RFC 2544): no host has it."""


@dataclass(frozen=True)
class Namespace:
    name: str
    inside: str
    """The namespace's address, as this host reaches it."""

    def cut(self) -> None:
        """Drop every packet that comes in or goes out, without an answer."""
        for chain in ("INPUT", "OUTPUT"):
            self._iptables("-A", chain, "!", "-i" if chain == "INPUT" else "-o", "lo", "-j", "DROP")

    def mend(self) -> None:
        self._iptables("-F")

    def _iptables(self, *arguments: str) -> None:
        _ip("netns", "exec", self.name, "iptables", "-w", *arguments)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Needs root. Gone afterwards, with its link."""
    name, third = f"lundock-{secrets.token_hex(4)}", secrets.randbelow(256)
    outer, inner = f"lo{name[-8:]}", f"li{name[-8:]}"
    inside, outside = f"{NETWORK}.{third}.2", f"{NETWORK}.{third}.1"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("address", "add", f"{outside}/30", "dev", outer)
        _ip("link", "set", outer, "up")
        _ip("-n", name, "address", "add", f"{inside}/30", "dev", inner)
        for device in (inner, "lo"):
            _ip("-n", name, "link", "set", device, "up")
        yield Namespace(name, inside)
    finally:
        _ip("netns", "delete", name)


def far_target(folder: Path, name: str, where: Namespace) -> TargetProcess:
    """A target in the namespace: its API with a token, and its portal, at the namespace's address."""
    token = folder / f"{name}-token"
    token.write_text(secrets.token_hex(16))
    addresses = [f"--{kind}={where.inside}" for kind in ("iscsi-addresses", "api-address", "page-address")]
    target = TargetProcess(folder, name, *addresses, f"--token-file={token}", host=where.inside, token_file=token)
    target.argv = ["ip", "netns", "exec", where.name, *target.argv]
    return target


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
