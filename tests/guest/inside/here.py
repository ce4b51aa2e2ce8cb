"""This very machine with the interface of `Machine`: the same steps of an initiator work in the guest itself."""

from __future__ import annotations

from tests.guest.command_port import run
from tests.guest.machine import Machine, Result


class Here(Machine):
    def __init__(self) -> None:
        pass

    def run(self, script: str, *, timeout_s: float = 120, check: bool = True) -> Result:
        return self.checked(script, Result(**run(script, timeout_s)), check)
