"""Leader election on a Lease: one replica acts at a time (after client-go's leaderelection).

The Lease is let go on a clean stop, so that the next replica need not wait. When it is lost, the process
must end at once: `lost` is called, and nothing that was begun is finished.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from lundock_common import kubeconfig
from lundock_common.kubernetes_api import (
    LEASE_GROUP,
    AlreadyExists,
    Conflict,
    Json,
    Kube,
    KubernetesError,
    NotFound,
    lease_path,
    leases_path,
)
from provisioner.errors import SettingsError
from provisioner.settings import LeaderElectionSettings

log = structlog.get_logger()


def election_namespace(settings: LeaderElectionSettings) -> str:
    """Where the Lease is: as configured, or the pod's own namespace.

    Raises:
        SettingsError: neither tells.
    """
    if settings.namespace:
        return settings.namespace
    try:
        return kubeconfig.namespace_of_pod()
    except OSError as error:
        raise SettingsError(
            f"leaderElection.namespace is empty, and no pod's service account tells it ({error}); set it, or "
            "leaderElection.enabled: false"
        ) from error


class Elector:
    """Gets, renews and lets go of one Lease."""

    def __init__(self, kube: Kube, settings: LeaderElectionSettings, identity: str, lost: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._identity = identity
        self._lost = lost
        self._path = lease_path(settings.namespace, settings.name)
        self._seen: tuple[str, float] = ("", 0.0)
        """The Lease's resource version, and when it was first seen: other machines' clocks are not trusted."""
        self._lease: Json | None = None
        self._renewed_at = float("-inf")
        self._stopping = threading.Event()
        self._renewing = threading.Thread(target=self._keep, name="leader", daemon=True)
        self._guarding = threading.Thread(target=self._guard, name="leader's guard", daemon=True)

    def acquire(self, stopping: threading.Event) -> bool:
        """Wait for the Lease and keep it from then on. False when `stopping` was set first."""
        while not stopping.is_set():
            try:
                if self._try():
                    log.info("leading", lease=self._settings.name, identity=self._identity)
                    self._renewing.start()
                    self._guarding.start()
                    return True
            except KubernetesError as error:
                log.warning("cannot get the lease", lease=self._settings.name, error=str(error))
            stopping.wait(self._settings.retry_period_seconds * random.uniform(1.0, 1.2))  # noqa: S311
        return False

    def holds(self) -> bool:
        """Whether nobody else can hold it at this moment: false too after the process was frozen for long."""
        return time.monotonic() - self._renewed_at < self._settings.lease_duration_seconds

    def release(self) -> None:
        """Let go of it. Only after the last piece of work has ended."""
        self._stopping.set()
        if self._lease is None:
            return
        self._renewing.join(self._settings.renew_deadline_seconds)
        try:
            self._write({"holderIdentity": "", "leaseDurationSeconds": 1})
            log.info("let go of the lease", lease=self._settings.name)
        except KubernetesError as error:
            log.warning("could not let go of the lease; it runs out", error=str(error))

    def _keep(self) -> None:
        while not self._stopping.wait(self._settings.retry_period_seconds):
            try:
                if not self._try():
                    log.error("another replica holds the lease", lease=self._settings.name)
                    self._lost()
                    return
            except KubernetesError as error:
                log.warning("cannot renew the lease", lease=self._settings.name, error=str(error))

    def _guard(self) -> None:
        """Ends it in time: a renewal can hang longer than its time-outs say (a name server, an answer that drips)."""
        while not self._stopping.wait(self._settings.retry_period_seconds / 4):
            if time.monotonic() - self._renewed_at >= self._settings.renew_deadline_seconds:
                log.error("the lease was not renewed in time", lease=self._settings.name)
                self._lost()
                return

    def _try(self) -> bool:
        """One attempt to get or to renew it.

        Raises:
            KubernetesError: the API server does not tell who holds it.
        """
        if self._lease is not None:
            try:
                self._write({})
            except (NotFound, Conflict):
                self._lease = None
            else:
                return True
        try:
            lease = self._kube.get(self._path)
        except NotFound:
            return self._create()
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        held_for_s = time.monotonic() - self._seen[1]
        if holder not in ("", self._identity) and held_for_s < float(spec.get("leaseDurationSeconds") or 0):
            return False
        self._lease = lease
        try:
            changes = (
                {} if holder == self._identity else {"leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
            )
            self._write({"acquireTime": _now(), **changes})
        except (NotFound, Conflict):
            self._lease = None
            return False
        return True

    def _create(self) -> bool:
        meta = {"name": self._settings.name, "namespace": self._settings.namespace}
        spec = {**self._spec(), "acquireTime": _now(), "leaseTransitions": 0}
        body = {"apiVersion": LEASE_GROUP, "kind": "Lease", "metadata": meta, "spec": spec}
        at = time.monotonic()
        try:
            self._lease = self._kube.create(leases_path(self._settings.namespace), body)
        except AlreadyExists:
            return False
        self._renewed_at = at
        return True

    def _write(self, changes: Json) -> None:
        """Replace the Lease as last seen.

        Raises:
            Conflict: somebody else wrote it meanwhile.
            NotFound: it is gone.
        """
        assert self._lease is not None  # noqa: S101 (held by every caller)
        spec = {**(self._lease.get("spec") or {}), **self._spec(), **changes}
        at = time.monotonic()
        self._lease = self._kube.replace(self._path, {**self._lease, "spec": spec})
        self._renewed_at = at

    def _spec(self) -> Json:
        return {
            "holderIdentity": self._identity,
            # Whole seconds in the API: rounded up, for others must not wait shorter than `holds` counts on.
            "leaseDurationSeconds": math.ceil(self._settings.lease_duration_seconds),
            "renewTime": _now(),
        }


def _now() -> str:
    """MicroTime, as the Lease API wants it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
