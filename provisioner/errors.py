"""What can go wrong in the provisioner, and what each means for the claim or volume in hand.

ProvisionerError
├── SettingsError          the configuration or a command's input is wrong; the process ends with code 2
├── Permanent              wrong input: one event, no retry until the object or its class changes
├── Transient              try again after `delay_s`, or after the key's back-off where it is None
│   └── Busy               a target has no turn for us at this moment; nobody has to know
"""

from __future__ import annotations


class ProvisionerError(Exception):
    """Base of everything that the provisioner raises on purpose."""


class SettingsError(ProvisionerError):
    """The configuration, or what a command was given, cannot be used; the message says what it should be."""


class Coded(ProvisionerError):
    """`code` is stable and starts the event's message; `detail` is a sentence that says what to change."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Permanent(Coded):
    """Wrong input: repeating it never helps."""


class Transient(Coded):
    """Not now. `delay_s` None leaves the delay to the key's growing back-off."""

    def __init__(self, code: str, detail: str, delay_s: float | None = None) -> None:
        super().__init__(code, detail)
        self.delay_s = delay_s


class Busy(Transient):
    """A target has as many calls as it may: no failure, no event, just a moment later."""
