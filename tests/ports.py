"""Free TCP ports, so that tests never meet another target on the machine."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack


def free_ports(count: int = 1) -> int:
    """The first of `count` consecutive ports that are free now, below the range of ephemeral ones."""
    for _ in range(200):
        first = random.randrange(20000, 32000 - count)  # noqa: S311 - not for secrecy
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")
