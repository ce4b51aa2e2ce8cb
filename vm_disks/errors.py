"""The errors of vm_disks.

VmDisksError
├── Faults              everything that is wrong with one spec, at once
├── DocumentError       a file that can't be read, isn't YAML or JSON, or a Template that lacks a parameter
├── SpecError           one fault in a VM spec, with its path
│   └── Unsupported     a kind of volume, network … that can't work here; --skip-unsupported leaves it out
├── ClaimError          a claim that gives no LUN: names claim, PV and fix
│   ├── ClaimMissing    ├── ClaimUnbound    ├── ClaimBeingDeleted
│   ├── ClaimUnfinished ├── NotIscsi        ├── BindingBroken   └── BadAddress
├── CredentialsError    a CHAP Secret that is missing or incomplete, or asks for what QEMU can't do
├── ClusterError        the API server doesn't answer, or forbids
├── PortalUnreachable   no portal of a LUN answers from here
├── DomainError         a domain XML that can't be read, or a disk without its file
├── ToolError           qemu-img or xorriso is missing or failed
├── LocalFileError      a VM's files or locks can't be made on this host
├── LeaseHeld           another VM uses a ReadWriteOnce claim
└── HypervisorError     libvirt isn't there, or refuses
    ├── AlreadyRunning  ├── NotRunning
    └── ConsoleError    ├── ConsoleTimeout  ├── MachineEnded    └── MachineStuck
"""

from __future__ import annotations

from collections.abc import Sequence


class VmDisksError(Exception):
    """Base of all: what was attempted, on what, why it failed and what to do next."""


class Faults(VmDisksError):
    """All faults of one spec; `errors` are SpecErrors, ClaimErrors and CredentialsErrors in spec order."""

    def __init__(self, subject: str, errors: Sequence[VmDisksError]) -> None:
        self.subject = subject
        self.errors = tuple(errors)
        lines = "\n".join(f"  {error}" for error in self.errors)
        super().__init__(f"{subject}: {len(self.errors)} error{'s' if len(self.errors) > 1 else ''}\n{lines}")


class DocumentError(VmDisksError):
    pass


class SpecError(VmDisksError):
    """`path` is where in the document (spec.domain.devices.disks[1].cache), `reason` why it can't be."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


class Unsupported(SpecError):
    """Could be left out: the VM may still boot without it."""


class ClaimError(VmDisksError):
    """`path` is the volume or disk in the spec; `claim` is namespace/name; `volume` the PV's name, if known."""

    def __init__(self, path: str, claim: str, volume: str | None, reason: str, fix: str) -> None:
        self.path = path
        self.claim = claim
        self.volume = volume
        self.reason = reason
        self.fix = fix
        subject = f"claim {claim}" + (f" (PV {volume})" if volume else "")
        super().__init__(f"{path}: {subject}: {reason}. {fix}.")


class ClaimMissing(ClaimError):
    pass


class ClaimUnbound(ClaimError):
    pass


class ClaimBeingDeleted(ClaimError):
    pass


class ClaimUnfinished(ClaimError):
    """Bound, but its data is not there yet."""


class NotIscsi(ClaimError):
    pass


class BindingBroken(ClaimError):
    """Claim and PV don't name each other."""


class BadAddress(ClaimError):
    """The PV's spec.iscsi, or what the disk asks of it, can't be served by QEMU's iSCSI driver."""


class CredentialsError(VmDisksError):
    """`secret` is namespace/name. Never carries a password."""

    def __init__(self, secret: str, reason: str, fix: str) -> None:
        self.secret = secret
        self.reason = reason
        self.fix = fix
        super().__init__(f"Secret {secret}: {reason}. {fix}.")


class ClusterError(VmDisksError):
    pass


class DomainError(VmDisksError):
    pass


class PortalUnreachable(VmDisksError):
    pass


class ToolError(VmDisksError):
    """A command that was run: `argv` never carries a secret."""


class LocalFileError(VmDisksError):
    pass


class LeaseHeld(VmDisksError):
    pass


class HypervisorError(VmDisksError):
    pass


class AlreadyRunning(HypervisorError):
    pass


class NotRunning(HypervisorError):
    pass


class ConsoleError(HypervisorError):
    """The console did not say what was waited for."""


class ConsoleTimeout(ConsoleError):
    pass


class MachineEnded(ConsoleError):
    pass


class MachineStuck(ConsoleError):
    """The virtual CPU gave up: seen where KVM is offered but can't run every instruction."""
