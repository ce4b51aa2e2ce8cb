"""The running provisioner: what `lundock-provisioner run` does from start to SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import uuid
from typing import Any

import structlog

from lundock_common.kubernetes_api import Kube, KubernetesError
from provisioner import identity
from provisioner.controller import Controller
from provisioner.kube.elector import Elector, election_namespace
from provisioner.observing import tracing
from provisioner.observing.health import HealthServer
from provisioner.observing.metrics import Metrics
from provisioner.planning.volumes import Identity
from provisioner.settings import Settings
from provisioner.sweep import Sweeper

log = structlog.get_logger()

AGENT = "lundock-provisioner"

LOST_LEASE = 3
"""The exit code when the Lease was lost."""


def run(configuration: Any, settings: Settings) -> int:
    """Until SIGTERM or SIGINT.

    Returns:
        The process's exit code.
    """
    tracing.start(settings.tracing, settings.release)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    metrics = Metrics()
    kube = Kube(
        configuration,
        settings.kubernetes.pace,
        pool_size=settings.queue.workers + 8,
        observe=metrics.count_call,
        user_agent=AGENT,
    )
    state = _State()
    http = HealthServer(settings.http, state.healthy, state.ready, metrics.render)
    http.start()
    ours = _wait_for_identity(kube, settings, stopping)
    if ours is None:
        return 0
    controller = state.controller = Controller(kube, settings, ours, metrics)
    controller.start_watching()
    elector = _elector(configuration, settings)
    if elector is not None and not elector.acquire(stopping):
        controller.stop()
        return 0
    metrics.leading.set(1)
    while not controller.wait_synced(1.0):
        if stopping.is_set():
            break
    if not stopping.is_set():
        may_act = elector.holds if elector else lambda: True
        controller.start_working(may_act)
        sweeper = Sweeper(controller.context, controller.secret_namespaces)
        if settings.sweep.mode != "off":
            threading.Thread(target=sweeper.run, args=(stopping, may_act), name="sweep", daemon=True).start()
        log.info("working", release=settings.release, targets=list(controller.context.targets))
    stopping.wait()
    log.info("stopping")
    controller.stop()
    if elector is not None:
        elector.release()
    http.stop()
    tracing.stop()
    return 0


class _State:
    """What the probes tell. A standby is ready: it watches, and could take over."""

    controller: Controller | None = None

    def healthy(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.controller is not None and self.controller.synced


def _wait_for_identity(kube: Kube, settings: Settings, stopping: threading.Event) -> Identity | None:
    """Waits for the API server. None when stopped meanwhile."""
    while not stopping.is_set():
        try:
            return identity.of(kube, settings)
        except KubernetesError as error:
            log.warning("the API server does not say which cluster this is", error=str(error))
            stopping.wait(2.0)
    return None


def _elector(configuration: Any, settings: Settings) -> Elector | None:
    election = settings.leader_election
    if not election.enabled:
        return None
    election = election.model_copy(update={"namespace": election_namespace(election)})
    calls = settings.kubernetes.model_copy(update={"timeout_seconds": election.renew_deadline_seconds / 2})
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    return Elector(Kube(configuration, calls.pace, pool_size=2, user_agent=AGENT), election, identity, _lost)


def _lost() -> None:
    """End at once, in the middle of whatever is being done: another replica may act from now on."""
    log.error("the lease is lost, the process ends")
    sys.stderr.flush()
    os._exit(LOST_LEASE)
