"""Whether a portal answers: QEMU would only say that it could not connect, and to libvirt's log."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from lundock_common.portal import Portal
from vm_disks.errors import PortalUnreachable

TIMEOUT_S = 3.0


def first_answering(portals: Sequence[Portal], *, subject: str, timeout_s: float = TIMEOUT_S) -> Portal:
    """The first that accepts a TCP connection, trying them in order.

    Args:
        portals: those of one LUN.
        subject: what the LUN is, for the message.
        timeout_s: for each of them.

    Raises:
        PortalUnreachable: none does; says of each why.
    """
    reasons = []
    for portal in portals:
        try:
            socket.create_connection((portal.host, portal.port), timeout=timeout_s).close()
        except OSError as error:
            reasons.append(f"{portal}: {error.strerror or error}")
        else:
            return portal
    raise PortalUnreachable(
        f"{subject}: no portal answers from this host ({'; '.join(reasons)}). Is the target running, and may this host "
        "reach it? A Service's name or ClusterIP works on the cluster's nodes and pods; elsewhere set the PV's "
        "annotation lundock.io/portal-override to an address that does."
    )
