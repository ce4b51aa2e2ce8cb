"""A portal that is a Service's name, for a VM that runs where the cluster's DNS is not asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lundock_common.portal import Portal
from vm_disks.objects import Document, listed, mappings, part
from vm_disks.resolution.lookup import Lookup

_SERVICE = re.compile(r"(?P<name>[a-z]([a-z0-9-]*[a-z0-9])?)(\.(?P<namespace>[a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?)?")
"""NAME, in the claim's own namespace, or NAME.NAMESPACE.svc with or without the cluster's domain.

Pods may say NAME.NAMESPACE too; here that could be any host of the world.
"""


def from_outside(portal: Portal, namespace: str, lookup: Lookup) -> Portal:
    """The portal at the Service's address, if its host is the name of one; else as it is.

    Raises:
        ClusterError: the Service can't be looked up.
    """
    match = _SERVICE.fullmatch(portal.host.removesuffix("."))
    service = match and lookup.service(match["namespace"] or namespace, match["name"])
    if not service:
        return portal
    return Portal(next(_addresses(service), portal.host), portal.port)


def _addresses(service: Document) -> Iterator[str]:
    """What leads to a Service from outside, best first; its ClusterIP does on the cluster's own nodes."""
    spec = part(service, "spec")
    for ingress in mappings(part(service, "status", "loadBalancer"), "ingress"):
        yield from filter(None, (ingress.get("ip"), ingress.get("hostname")))
    yield from listed(spec, "externalIPs")
    if spec.get("clusterIP") not in (None, "", "None"):
        yield spec["clusterIP"]
