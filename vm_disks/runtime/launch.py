"""From a VM spec to a running machine: resolve, read the credentials, reach the portals, start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vm_disks.errors import (
    AlreadyRunning,
    CredentialsError,
    Faults,
    HypervisorError,
    MachineStuck,
    PortalUnreachable,
    VmDisksError,
)
from vm_disks.model import ClaimSource, Disk, VmSpec
from vm_disks.resolution import chap
from vm_disks.resolution.chap import Credentials
from vm_disks.resolution.lookup import FromCluster, Lookup
from vm_disks.resolution.vm import resolve
from vm_disks.runtime import media, portals, state
from vm_disks.runtime.leases import Holder, Leases, exclusive_claims
from vm_disks.xml import domain_xml
from vm_disks.xml.disk_xml import needs_file

if TYPE_CHECKING:
    from vm_disks.runtime.console import Console
    from vm_disks.runtime.hypervisor import Hypervisor
    from vm_disks.runtime.machine import Machine

Acceleration = Literal["auto", "kvm", "tcg"]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Launch:
    """All that a start needs to know; the credentials are in memory only."""

    vm: VmSpec
    disks: tuple[Disk, ...]
    credentials: dict[str, Credentials]
    network: str = "user"

    @property
    def name(self) -> str:
        return domain_xml.name(self.vm)

    def xml(self, domain_type: Literal["kvm", "qemu"]) -> str:
        options = domain_xml.DomainOptions(type=domain_type, network=self.network)
        return domain_xml.render(self.vm, self.disks, options)


def prepare(vm: VmSpec, lookup: Lookup, *, network: str = "user", say: Say) -> Launch:
    """What a start of the VM needs: its claims resolved, their portals reached, the credentials read.

    Raises:
        Faults: names every claim that gives no LUN, or else every portal and Secret that won't do.
        ClusterError: an object can't be looked up.
    """
    return Launch(vm, *reach(vm, resolve(vm, lookup), lookup, say), network)


def reach(
    vm: VmSpec, disks: Sequence[Disk], lookup: Lookup, say: Say
) -> tuple[tuple[Disk, ...], dict[str, Credentials]]:
    """The disks, each with the portal that answers, and the CHAP credentials by libvirt secret.

    Raises:
        Faults: names every portal and Secret that won't do.
        ClusterError: a Secret can't be looked up.
    """
    credentials: dict[str, Credentials] = {}
    reached: list[Disk] = []
    errors: list[VmDisksError] = []
    for disk in disks:
        try:
            reached.append(_reach(disk, say))
            if disk.secret_usage is not None:
                credentials[disk.secret_usage] = credentials_of(disk, lookup)
        except (PortalUnreachable, CredentialsError) as error:
            errors.append(error)
    if errors:
        raise Faults(f"VM {vm.namespace}/{vm.name}", errors)
    return tuple(reached), credentials


def credentials_of(disk: Disk, lookup: Lookup) -> Credentials:
    """The CHAP credentials for a disk's LUN.

    Raises:
        CredentialsError: the Secret won't do.
        ClusterError: the Secret can't be looked up.
    """
    assert disk.address is not None  # noqa: S101 (only a LUN has a secret)
    assert disk.address.chap is not None  # noqa: S101
    reference = disk.address.chap
    return chap.read(lookup.secret(reference.namespace, reference.secret), f"{reference.namespace}/{reference.secret}")


def subject(disk: Disk) -> str:
    """What an error about a disk's LUN is about."""
    return f"disk {disk.spec.name} (claim {disk.claim}, PV {disk.volume})"


def _reach(disk: Disk, say: Say) -> Disk:
    if disk.address is None:
        return disk
    portal = portals.first_answering(disk.address.portals, subject=subject(disk))
    if portal != disk.address.portals[0]:
        say(f"disk {disk.spec.name}: portal {disk.address.portals[0]} does not answer; using {portal}")
    return dataclasses.replace(disk, address=dataclasses.replace(disk.address, portals=(portal,)))


def domain_types(acceleration: Acceleration, offers_kvm: bool) -> Sequence[Literal["kvm", "qemu"]]:
    """The libvirt domain types to try, in order. With "auto", KVM that gets stuck gives way to QEMU's own TCG."""
    if acceleration == "auto":
        return ("kvm", "qemu") if offers_kvm else ("qemu",)
    return ("kvm",) if acceleration == "kvm" else ("qemu",)


@contextmanager
def reserved(launch: Launch, lookup: Lookup, hypervisor: Hypervisor, *, force: bool = False) -> Iterator[Launch]:
    """The same launch with its Leases taken and its files made; both are undone unless the domain runs afterwards.

    Until then no other vm-disks of this host starts it.

    Raises:
        AlreadyRunning: the domain runs, or another vm-disks of this host is at it.
        LeaseHeld: another VM uses a claim that allows one writer.
        SpecError: a seed's Secret won't do.
        ToolError: a program that makes the files is missing or failed.
        ClusterError: a claim, a Lease or a Secret can't be read or written.
        LocalFileError: this host has no room, or no right, for the files or the lock.
        HypervisorError: libvirt does not answer, or the daemon of another host would need files of this one.
    """
    if not hypervisor.is_local and any(needs_file(disk) for disk in launch.disks):
        raise HypervisorError(
            f"Disks of VM {launch.vm.name} are local files (a seed, a scratch disk, an overlay), and "
            f"{hypervisor.uri} is another host. Run vm-disks there."
        )
    _refuse_running(launch.name, hypervisor)
    with state.starting(hypervisor.place, launch.name):
        _refuse_running(launch.name, hypervisor)
        try:
            reserve(launch.vm, launch.disks, lookup, hypervisor, force=force)
            yield dataclasses.replace(launch, disks=media.make(launch.vm, launch.disks, lookup, launch.credentials))
        finally:
            if not hypervisor.runs(launch.name):
                release(launch.vm, claims_of(launch.vm), lookup, hypervisor)


def _refuse_running(name: str, hypervisor: Hypervisor) -> None:
    if hypervisor.runs(name):
        raise AlreadyRunning(
            f"Domain {name} runs on {hypervisor.uri} already. "
            "Look at it with `vm-disks console`, end it with `vm-disks stop`."
        )


def reserve(vm: VmSpec, disks: Sequence[Disk], lookup: Lookup, hypervisor: Hypervisor, *, force: bool = False) -> None:
    """Take the Leases of the claims that allow one writer. Without a cluster there is nobody to ask.

    Raises:
        LeaseHeld: another VM uses one of the claims, and `force` is off.
        ClusterError: a claim can't be looked up, or a Lease can't be taken.
        HypervisorError: libvirt can't be asked for its host's name, or whether the holder of a Lease runs.
    """
    if isinstance(lookup, FromCluster) and (names := exclusive_claims(vm, disks, lookup)):
        leases = _leases(vm, lookup, hypervisor)
        volumes = {disk.claim: disk.volume for disk in disks}

        def runs(domain: str) -> bool:
            """In this order: a start that ends in between is seen as a domain, one that begins changes the Lease."""
            return state.is_starting(hypervisor.place, domain) or hypervisor.runs(domain)

        for name in names:
            leases.acquire(name, volume=volumes.get(name), runs=runs, force=force)


def release(vm: VmSpec, claims: Iterable[str], lookup: Lookup, hypervisor: Hypervisor) -> None:
    """Give back what the VM had: its local files and, if they are its own, the Leases.

    Raises:
        ClusterError: a Lease can't be read or deleted.
        HypervisorError: libvirt can't be asked for its host's name.
    """
    media.remove(domain_xml.name(vm))
    release_claims(vm, claims, lookup, hypervisor)


def release_claims(vm: VmSpec, claims: Iterable[str], lookup: Lookup, hypervisor: Hypervisor) -> None:
    """Give back the Leases of these claims, if they are the VM's own.

    Raises:
        ClusterError: a Lease can't be read or deleted.
        HypervisorError: libvirt can't be asked for its host's name.
    """
    if isinstance(lookup, FromCluster) and (names := list(claims)):
        leases = _leases(vm, lookup, hypervisor)
        for name in names:
            leases.release(name)


def claims_of(vm: VmSpec) -> list[str]:
    return [disk.source.claim for disk in vm.disks if isinstance(disk.source, ClaimSource)]


def _leases(vm: VmSpec, cluster: FromCluster, hypervisor: Hypervisor) -> Leases:
    return Leases(cluster, vm.namespace, Holder(hypervisor.place, domain_xml.name(vm)))


def boot(
    launch: Launch,
    hypervisor: Hypervisor,
    acceleration: Acceleration,
    *,
    watch: Callable[[Machine, Console], object],
    say: Say,
) -> Machine:
    """Create the machine, let it run, and watch its console from the first byte on.

    Args:
        launch: the VM.
        hypervisor: where it runs.
        acceleration: with "auto", a guest that gets stuck under KVM is started again without.
        watch: called with the machine and its console. Any error of it but MachineStuck is passed on, and the
            machine still runs.
        say: told how it goes on.

    Raises:
        AlreadyRunning: there is a domain of this name already.
        DomainError: the VM can't be written as a domain.
        HypervisorError: libvirt can't start it; the machine is gone.
        MachineStuck: there is no other way left to run the guest; the machine is gone.
    """
    from vm_disks.runtime import console as consoles
    from vm_disks.runtime import machine as machines

    types = domain_types(acceleration, hypervisor.offers_kvm())
    for domain_type in types:
        machine = machines.create(hypervisor, launch.name, launch.xml(domain_type), launch.credentials)
        try:
            console = consoles.Console(machine) if launch.vm.serial_console else consoles.NoConsole(machine)
            machine.resume()
        except BaseException:  # nobody would ever let it run
            machine.destroy()
            raise
        with console:
            say(f"started {machine.name} on {hypervisor.uri} ({'KVM' if domain_type == 'kvm' else 'QEMU without KVM'})")
            try:
                watch(machine, console)
            except MachineStuck as error:
                machine.destroy()
                if domain_type == types[-1]:
                    raise
                say(f"{error} Starting again without KVM.")
            else:
                break
    return machine
