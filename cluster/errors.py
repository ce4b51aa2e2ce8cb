"""What can go wrong with the embedded cluster.

ClusterError
├── CommandFailed     a command ended with an error; carries argv, exit code and stderr
├── ToolMissing       a program is not installed
├── NotReady          something did not become ready in its time; carries the end of its log
├── Conflict          this machine already has something in the place that the cluster needs
└── Privilege         root is needed
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


class ClusterError(Exception):
    """Base of all errors of this package. The message says what to do next."""


class CommandFailed(ClusterError):
    def __init__(self, argv: Sequence[str], exit_code: int, stderr: str) -> None:
        self.argv, self.exit_code, self.stderr = tuple(argv), exit_code, stderr
        super().__init__(f"`{shlex.join(argv)}` ended with exit code {exit_code}: {stderr.strip()[-2000:]}")


class ToolMissing(ClusterError):
    """A program is not on PATH."""


class NotReady(ClusterError):
    """A component did not become ready in its time."""


class Conflict(ClusterError):
    """Something else on this machine holds what the cluster needs."""


class Privilege(ClusterError):
    """The step needs root."""
