"""The agent as a process: its start, its listeners, its logs, and a stop that leaves nothing behind."""

from __future__ import annotations

import logging
import os
import resource
import sys

import structlog

from target_image.agent.demo import plan as demo_plan
from target_image.agent.demo.target import Demo
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises AgentError where the agent cannot start."""
    configure_logs(settings)
    plan = demo_plan.plan(os.environ) if settings.demo else None
    _raise_file_limit()
    agent = Agent(settings)
    demo = None if plan is None else Demo(plan, agent)
    agent.start()
    try:
        if demo is not None:
            demo.start()
        # Imported while the engine starts and the first initiators log in.
        from target_image.agent.http import listeners

        listeners.serve(agent, None if plan is None else plan.portal)
    finally:
        if demo is not None:
            demo.stop()
        agent.stop()
    if agent.supervisor.failure is not None:
        raise agent.supervisor.failure


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


def _raise_file_limit() -> None:
    """tgtd inherits it, and keeps a descriptor for each LUN and connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
