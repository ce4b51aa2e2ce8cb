"""Prometheus metrics. Names begin with lundock_target_; sizes are bytes, times are seconds."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPMethod

import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from target_image.agent.errors import AgentError, NotFound
from target_image.agent.service.agent import Agent

log = structlog.get_logger()

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The registry of one agent: the requests it answered, and what the agent says when it is asked."""

    def __init__(self, agent: Agent) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "lundock_target_request_seconds",
            "Time to answer a request of the API.",
            ("method", "path", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_AgentCollector(agent))

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """`path` is a route's. A method is whatever word a stranger sends, so only known ones are told apart."""
        self._requests.labels(method if method in HTTPMethod.__members__ else "other", path, str(status)).observe(
            seconds
        )


class _AgentCollector(Collector):
    """Asks the agent at scrape time, so that nothing has to be counted twice."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield _gauge("ready", "1 when everything promised is served.", self._agent.ready())
        yield CounterMetricFamily(
            "lundock_target_engine_restarts",
            "How often a dead tgtd was started again.",
            self._agent.supervisor.restarts,
        )
        for part in (self._capacity, self._images, self._exports):
            try:
                yield from part()
            except AgentError as error:  # one part that is down must not hide the others
                log.warning("metrics are incomplete", code=error.code, detail=error.detail)

    def _capacity(self) -> Iterable[Metric]:
        capacity = self._agent.capacity.now()
        yield _gauge("capacity_bytes", "Size of the volumes' file system.", capacity.total_bytes)
        yield _gauge("free_bytes", "Free space of the volumes' file system.", capacity.free_bytes)
        yield _gauge("promised_bytes", "Sum of the volumes' sizes.", capacity.promised_bytes)
        yield _gauge("available_bytes", "What may still be promised.", capacity.available_bytes)

    def _images(self) -> Iterable[Metric]:
        done = GaugeMetricFamily("lundock_target_image_done_bytes", "What is there of an image.", labels=["image"])
        total = GaugeMetricFamily("lundock_target_image_total_bytes", "An image's size, if known.", labels=["image"])
        for image in self._agent.images.list():
            done.add_metric([image.name], image.bytes_done)
            total.add_metric([image.name], image.bytes_total)
        return done, total

    def _exports(self) -> Iterable[Metric]:
        phases: dict[str, int] = {}
        sessions = GaugeMetricFamily("lundock_target_sessions", "Live sessions.", labels=["export"])
        read = GaugeMetricFamily(
            "lundock_target_session_read_bytes", "Bytes read by the sessions that live now.", labels=["export", "lun"]
        )
        written = GaugeMetricFamily(
            "lundock_target_session_written_bytes",
            "Bytes written by the sessions that live now.",
            labels=["export", "lun"],
        )
        for export in self._agent.exports.list():
            phases[export.phase] = phases.get(export.phase, 0) + 1
            if not export.sessions:
                continue
            sessions.add_metric([export.id], export.sessions)
            for lun, (bytes_read, bytes_written) in self._bytes(export.id).items():
                read.add_metric([export.id, str(lun)], bytes_read)
                written.add_metric([export.id, str(lun)], bytes_written)
        exports = GaugeMetricFamily("lundock_target_exports", "Exports by phase.", labels=["phase"])
        for phase, count in phases.items():
            exports.add_metric([phase], count)
        return exports, sessions, read, written

    def _bytes(self, export_id: str) -> dict[int, tuple[int, int]]:
        try:
            return self._agent.exports.session_bytes(export_id)
        except NotFound:  # deleted a moment ago
            return {}


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lundock_target_{name}", text, value)
