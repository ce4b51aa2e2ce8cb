"""One VM at a time writes to a ReadWriteOnce claim: a Lease per claim names the host and domain that uses it.

Kubernetes enforces access modes for pods that mount the claim; a QEMU that logs in by itself is not seen. A Lease never
expires by time: a host that is cut off from the API may well go on writing. It ends with `vm-disks stop`, the end of
`vm-disks run`, the pod that is its owner, or --force.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lundock_common.kubernetes_api import (
    LEASE_GROUP,
    AlreadyExists,
    Conflict,
    Json,
    KubernetesError,
    NotFound,
    Refused,
    lease_path,
    leases_path,
)
from vm_disks.errors import ClusterError, LeaseHeld
from vm_disks.model import ClaimSource, Disk, VmSpec
from vm_disks.resolution.lookup import FromCluster, Lookup

EXCLUSIVE = {"ReadWriteOnce", "ReadWriteOncePod"}
ATTEMPTS = 3
CLAIM_LABEL = "lundock.io/claim"


@dataclass(frozen=True)
class Holder:
    """A domain on a host; in a pod, the host is the pod."""

    host: str
    domain: str

    def __str__(self) -> str:
        return f"{self.host}/{self.domain}"


def exclusive_claims(vm: VmSpec, disks: Iterable[Disk], lookup: Lookup) -> list[str]:
    """The claims that this VM writes to and that allow one writer only, in spec order.

    Raises:
        ClusterError: a claim can't be looked up.
    """
    names: list[str] = []
    for disk in disks:
        source = disk.spec.source
        if not isinstance(source, ClaimSource) or source.overlay or disk.read_only or source.claim in names:
            continue
        modes = access_modes(vm, source.claim, lookup)
        if modes and modes <= EXCLUSIVE:
            names.append(source.claim)
    return names


def access_modes(vm: VmSpec, claim: str, lookup: Lookup) -> frozenset[str]:
    """What the claim asks for, which is what it may be used as.

    Raises:
        ClusterError: the claim can't be looked up.
    """
    document = lookup.claim(vm.namespace, claim) or {}
    return frozenset((document.get("spec") or {}).get("accessModes") or ())


def lease_name(claim: str) -> str:
    """DNS-1123, at most 253 characters, and one for each claim."""
    name = f"vm-disks-{claim}"
    return name if len(name) <= 253 else f"vm-disks-{hashlib.sha256(claim.encode()).hexdigest()}"


class Leases:
    """The Leases of one namespace, for one holder."""

    def __init__(self, cluster: FromCluster, namespace: str, holder: Holder) -> None:
        self._kube = cluster.kube
        self.namespace = namespace
        self.holder = holder
        self._owners = owners(os.environ) if namespace == cluster.pod_namespace else []

    def acquire(
        self, claim: str, *, runs: Callable[[str], bool], volume: str | None = None, force: bool = False
    ) -> None:
        """Take the claim's Lease, or keep the one that is ours.

        A Lease of this host whose domain is gone is taken over, for the guest may have powered itself off.

        Args:
            claim: its name.
            runs: whether a domain runs or starts on this host.
            volume: the PV's name, for the message.
            force: take it over from whoever has it.

        Raises:
            LeaseHeld: another VM has it, and `force` is off.
            ClusterError: the Lease can't be read or written, or others keep changing it.
        """
        for _ in range(ATTEMPTS):
            if self._create(claim) or self._take_over(claim, volume, runs, force=force):
                return
        raise ClusterError(f"Others keep changing the Lease {lease_name(claim)} in {self.namespace}. Try again.")

    def _create(self, claim: str) -> bool:
        lease = self._lease(lease_name(claim), claim)
        path = leases_path(self.namespace)
        return self._call("create", claim, lambda: self._kube.create(path, lease)) is not None

    def _take_over(self, claim: str, volume: str | None, runs: Callable[[str], bool], *, force: bool) -> bool:
        name = lease_name(claim)
        path = lease_path(self.namespace, name)
        lease = self._call("read", claim, lambda: self._kube.get(path))
        if lease is None:  # released in between
            return False
        host, _, domain = _holder(lease).partition("/")
        ours = host == self.holder.host and (domain == self.holder.domain or not runs(domain))
        if not (ours or force):
            raise LeaseHeld(
                f"claim {self.namespace}/{claim} (PV {volume}) is in use: Lease {name} says that domain {domain} on "
                f"host {host} writes to it, and it allows one writer. Stop that VM (`vm-disks stop` there); if it is "
                "gone for good, --force takes the claim over."
            )
        # With the resourceVersion that was read, so that of two that take over one loses.
        taken = {
            **lease,
            "metadata": {**lease["metadata"], "ownerReferences": self._owners},
            "spec": {**(lease.get("spec") or {}), "holderIdentity": str(self.holder)},
        }
        return self._call("take over", claim, lambda: self._kube.replace(path, taken)) is not None

    def release(self, claim: str) -> None:
        """Delete the claim's Lease, only if it is ours. Nothing to do where there is none.

        Raises:
            ClusterError: the Lease can't be read or deleted.
        """
        path = lease_path(self.namespace, lease_name(claim))
        lease = self._call("read", claim, lambda: self._kube.get(path))
        if lease is None or _holder(lease) != str(self.holder):
            return
        version = lease["metadata"]["resourceVersion"]
        self._call("delete", claim, lambda: self._kube.delete(path, resource_version=version))

    def _lease(self, name: str, claim: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace}
        if len(claim) <= 63:
            metadata["labels"] = {CLAIM_LABEL: claim}
        metadata["ownerReferences"] = self._owners
        return {
            "apiVersion": LEASE_GROUP,
            "kind": "Lease",
            "metadata": metadata,
            "spec": {"holderIdentity": str(self.holder)},
        }

    def _call(self, verb: str, claim: str, call: Callable[[], Json | None]) -> Json | None:
        """What `call` gives; None for "there is none" (404) and "not as it was" (409)."""
        what = (
            f"Could not {verb} the Lease {lease_name(claim)} in namespace {self.namespace}, which guards claim {claim}"
        )
        try:
            return call()
        except (NotFound, AlreadyExists, Conflict):
            return None
        except Refused as error:
            advice = "A Role must allow get, create, update and delete of leases in the group coordination.k8s.io"
            raise ClusterError(f"{what}: {error.status} {error.reason}. {advice}.") from error
        except KubernetesError as error:
            raise ClusterError(f"{what}: {error}. Check that the API server is up.") from error


def _holder(lease: Json) -> str:
    """Who holds it; empty where nobody does (a Lease needs no spec)."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def owners(environment: Mapping[str, str]) -> list[dict[str, str]]:
    """In a pod whose name and UID are in its environment: the pod, so that its Leases go when it is deleted.

    Only for Leases of the pod's own namespace: an owner is looked for there, and what has none is deleted at once.
    """
    name, uid = environment.get("POD_NAME"), environment.get("POD_UID")
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}] if name and uid else []
