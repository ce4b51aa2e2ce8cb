"""The LIO engine: the target of the host's own kernel."""

from target_image.agent.engines.lio.engine import LioEngine

__all__ = ["LioEngine"]
