"""Free TCP ports: those of a cluster's components, and of what the tests and benchmarks start."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.places import write

CANDIDATES = range(20000, 30000)
"""Below the ports that the kernel gives to outgoing connections, which could take a free one before we listen there,
and below the Services' node ports."""


@dataclass(frozen=True)
class Ports:
    """Free at the first start, and kept for the cluster's life: a restarted component is found where it was."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kubelet: int
    kubelet_health: int
    proxy_metrics: int
    dns: int
    dns_health: int
    dns_ready: int

    @classmethod
    def load(cls, file: Path) -> Ports:
        """Read the ports from a state file, or choose free ones and write it."""
        if file.exists():
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        free = _shuffled_free_ports()
        ports = cls(**{name: next(free) for name in cls.__dataclass_fields__})
        write(file, json.dumps(asdict(ports)))
        return ports


def _shuffled_free_ports() -> Iterator[int]:
    """Free ports in a random order, so that clusters that start at the same time choose others."""
    candidates = list(CANDIDATES)
    secrets.SystemRandom().shuffle(candidates)
    for port in candidates:
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        yield port


def free_ports(count: int = 1) -> int:
    """The first of `count` consecutive ports that are free now on loopback.

    Raises:
        RuntimeError: there are none.
    """
    for _ in range(200):
        first = secrets.choice(CANDIDATES[:-count])
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")
