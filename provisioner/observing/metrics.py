"""Prometheus metrics, under the names that sig-storage-lib-external-provisioner made known."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One set of metrics in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self.registry = CollectorRegistry()
        claim, volume = "controller_persistentvolumeclaim_provision", "controller_persistentvolume_delete"
        self.provisioned = Counter(claim, "Claims that got a volume.", ["class", "source"], registry=registry)
        self.provision_failed = Counter(
            f"{claim}_failed", "Attempts at a claim that failed.", ["class", "source"], registry=registry
        )
        self.provision_s = Histogram(
            f"{claim}_duration_seconds",
            "From the claim's first sight to its volume.",
            ["class", "source"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.deleted = Counter(volume, "Volumes deleted.", ["class"], registry=registry)
        self.delete_failed = Counter(
            f"{volume}_failed", "Attempts to delete that failed.", ["class"], registry=registry
        )
        self.delete_s = Histogram(
            f"{volume}_duration_seconds",
            "Of the deletion that went well.",
            ["class"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.api_calls = Counter(
            "lundock_provisioner_api_calls", "Calls to the API server.", ["method", "resource"], registry=registry
        )
        self.queue_length = Gauge("lundock_provisioner_queue_length", "Keys waiting for a worker.", registry=registry)
        self.leading = Gauge("lundock_provisioner_leading", "1 while this replica acts.", registry=registry)
        self.target_up = Gauge(
            "lundock_provisioner_target_up", "1 if the last call was answered.", ["target"], registry=registry
        )
        self.orphans = Gauge(
            "lundock_provisioner_orphaned_volumes",
            "Volumes of ours that no claim and no PV names.",
            ["target"],
            registry=registry,
        )
        self.missing = Gauge(
            "lundock_provisioner_missing_volumes",
            "PVs whose volume is not on its target.",
            ["target"],
            registry=registry,
        )

    def count_call(self, method: str, resource: str) -> None:
        self.api_calls.labels(method, resource).inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
