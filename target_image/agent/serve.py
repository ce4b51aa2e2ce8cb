"""The agent as a process: its three listeners, its logs, and a stop that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
from prometheus_client import make_asgi_app

from target_image.agent import demo_plan, http, pages
from target_image.agent.demo import Demo
from target_image.agent.errors import AgentError, SettingsError
from target_image.agent.metrics import Metrics
from target_image.agent.service import Service
from target_image.agent.settings import Settings

log = structlog.get_logger()

WATCH_S = 0.5
GRACEFUL_S = 1
"""How long requests in flight may take once the agent was told to stop."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises AgentError where the agent cannot start."""
    configure_logs(settings)
    plan = demo_plan.plan(os.environ) if settings.demo else None
    _raise_file_limit()
    service = Service(settings)
    metrics = Metrics(service)
    page = http.health(service)
    if settings.page:
        page.include_router(pages.router(service, None if plan is None else plan.portal))
    listeners = [
        _listener(http.api(service, metrics), settings.api_address, settings.api_port, _tls(settings)),
        _listener(page, settings.page_address, settings.page_port),
        _listener(make_asgi_app(metrics.registry), settings.metrics_address, settings.metrics_port),
    ]
    demo = None if plan is None else Demo(plan, service)
    service.start()
    try:
        if demo is not None:
            demo.start()
        asyncio.run(_serve(service, listeners, settings))
    finally:
        if demo is not None:
            demo.stop()
        service.stop()
    if service.supervisor.failure is not None:
        raise service.supervisor.failure


def configure_logs(settings: Settings) -> None:
    """One line per event on stderr; what logs through the standard library (uvicorn) joins in."""
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # rich's would print local variables: passwords
        )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=common))
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))


class _Listener(uvicorn.Server):
    """A uvicorn server that leaves the signals to `_serve`, since there are several in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(app: object, address: str, port: int, tls: dict[str, str] | None = None) -> _Listener:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=address,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_S,
        **(tls or {}),  # type: ignore[arg-type]
    )
    config.load()
    return _Listener(config)


def _tls(settings: Settings) -> dict[str, str] | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    for file in (settings.tls_cert_file, settings.tls_key_file):
        if not file.is_file():
            raise SettingsError(f"the TLS file {file} is not there: give the path of a PEM file")
    return {"ssl_certfile": str(settings.tls_cert_file), "ssl_keyfile": str(settings.tls_key_file)}


async def _serve(service: Service, listeners: list[_Listener], settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(_run_listener(listener)) for listener in listeners]
    watch = asyncio.create_task(_watch(service, stopping, listeners[0], settings))
    ended = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    for listener in listeners:
        listener.should_exit = True
    watch.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    ended.cancel()
    failures = [result for result in results if isinstance(result, AgentError)]
    if failures and ended not in done:
        raise failures[0]


async def _run_listener(listener: _Listener) -> None:
    where = f"{listener.config.host}:{listener.config.port}"
    try:
        await listener.serve()
    except SystemExit as error:  # uvicorn's way to say that it cannot listen
        raise SettingsError(
            f"cannot listen on {where}: is the port in use, or the address another machine's?"
        ) from error


async def _watch(service: Service, stopping: asyncio.Event, api: _Listener, settings: Settings) -> None:
    """Stop when the engine cannot be had; load renewed certificates; tell which port the API got."""
    told = False
    renewed = _modified(settings)
    while True:
        if service.supervisor.failure is not None:
            stopping.set()
        if api.started and not told:
            told = True
            sockets = [socket.getsockname() for server in api.servers for socket in server.sockets]
            log.info("api listens", address=sockets[0][0], port=sockets[0][1], tls=api.config.is_ssl)
        now = _modified(settings)
        if now != renewed and isinstance(api.config.ssl, ssl.SSLContext):
            renewed = now
            _reload(api.config.ssl, settings)
        await asyncio.sleep(WATCH_S)


def _reload(context: ssl.SSLContext, settings: Settings) -> None:
    assert settings.tls_cert_file is not None  # noqa: S101 - there is a context
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        log.error("the renewed TLS certificate cannot be used; the old one stays", reason=str(error))
    else:
        log.info("TLS certificate renewed")


def _modified(settings: Settings) -> list[int]:
    files = [file for file in (settings.tls_cert_file, settings.tls_key_file) if file is not None]
    return [_modified_ns(file) for file in files]


def _modified_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _raise_file_limit() -> None:
    """tgtd inherits it, and keeps a descriptor for each LUN and connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
