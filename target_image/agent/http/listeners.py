"""The agent's three listeners: the API, the page with health, the metrics. Slow to import: FastAPI and uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
from prometheus_client import make_asgi_app

from lundock_common.portal import Portal
from target_image.agent.errors import AgentError, SettingsError
from target_image.agent.http import app, pages
from target_image.agent.http.metrics import Metrics
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings

log = structlog.get_logger()

WATCH_S = 0.5
GRACEFUL_S = 1
"""How long requests in flight may take once the agent stops."""


def serve(agent: Agent, portal: Portal | None) -> None:
    """Serve until SIGTERM, SIGINT, or the engine's failure.

    Args:
        agent: a started agent.
        portal: where the page tells people to log in; None is the host that the page itself was asked for.

    Raises:
        SettingsError: a port cannot be listened on.
    """
    settings = agent.settings
    metrics = Metrics(agent)
    page = app.health(agent)
    if settings.page:
        page.include_router(pages.router(agent, portal))
    listeners = [
        _listener(app.api(agent, metrics), settings.api_address, settings.api_port, _tls(settings)),
        _listener(page, settings.page_address, settings.page_port),
        _listener(make_asgi_app(metrics.registry), settings.metrics_address, settings.metrics_port),
    ]
    asyncio.run(_serve(agent, listeners, settings))


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
    return {"ssl_certfile": str(settings.tls_cert_file), "ssl_keyfile": str(settings.tls_key_file)}


async def _serve(agent: Agent, listeners: list[_Listener], settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(_run_listener(listener)) for listener in listeners]
    watch = asyncio.create_task(_watch_engine_and_certificates(agent, stopping, listeners[0], settings))
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


async def _watch_engine_and_certificates(
    agent: Agent, stopping: asyncio.Event, api: _Listener, settings: Settings
) -> None:
    """Stop when the engine failed for good; load renewed certificates; log once which port the API got."""
    port_logged = False
    renewed = _certificate_times(settings)
    while True:
        if agent.supervisor.failure is not None:
            stopping.set()
        if api.started and not port_logged:
            port_logged = True
            sockets = [socket.getsockname() for server in api.servers for socket in server.sockets]
            log.info("api listens", address=sockets[0][0], port=sockets[0][1], tls=api.config.is_ssl)
        now = _certificate_times(settings)
        if now != renewed and isinstance(api.config.ssl, ssl.SSLContext):
            renewed = now
            _reload_certificate(api.config.ssl, settings)
        await asyncio.sleep(WATCH_S)


def _reload_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    assert settings.tls_cert_file is not None  # noqa: S101 - there is a context
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        log.error("the renewed TLS certificate cannot be used; the old one stays", reason=str(error))
    else:
        log.info("TLS certificate renewed")


def _certificate_times(settings: Settings) -> list[int]:
    files = [file for file in (settings.tls_cert_file, settings.tls_key_file) if file is not None]
    return [_modified_ns(file) for file in files]


def _modified_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
