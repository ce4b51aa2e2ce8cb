"""OpenTelemetry spans, where the extra `tracing` is installed and a collector is configured; nothing otherwise."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from provisioner.errors import SettingsError
from provisioner.settings import TracingSettings

_provider: Any = None
_tracer: Any = None


def start(settings: TracingSettings, release: str) -> None:
    """Send spans to the configured collector from now on.

    Raises:
        SettingsError: a collector is configured, and the extra is missing.
    """
    global _provider, _tracer
    if not settings.otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "tracing.otlpEndpoint is set, but OpenTelemetry is not installed: pip install 'lundock[tracing]'"
        ) from error
    resource = Resource.create({"service.name": "lundock-provisioner", "service.namespace": release})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.otlp_endpoint)))
    _tracer = _provider.get_tracer("lundock.provisioner")


def stop() -> None:
    """Send what is left, and no more."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


def span(name: str, **attributes: str) -> AbstractContextManager[Any]:
    """A span around a piece of work; attributes are prefixed with lundock."""
    if _tracer is None:
        return nullcontext()
    notes = {f"lundock.{key}": value for key, value in attributes.items()}
    context: AbstractContextManager[Any] = _tracer.start_as_current_span(name, attributes=notes)
    return context
