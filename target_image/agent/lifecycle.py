"""The agent as a process: its start, its listeners, its logs, and a stop that leaves nothing behind."""

from __future__ import annotations

import os
import resource

from lundock_common import logs
from target_image.agent.demo import plan as demo_plan
from target_image.agent.demo.target import Demo
from target_image.agent.service.agent import Agent
from target_image.agent.settings import Settings


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AgentError: the agent cannot start, or its supervisor failed.
    """
    logs.configure(settings.log_level, as_json=settings.log_format == "json")
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


def _raise_file_limit() -> None:
    """tgtd inherits it, and keeps a descriptor for each LUN and connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
