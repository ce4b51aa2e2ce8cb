"""A running VM: a transient libvirt domain, which leaves nothing behind when it ends."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vm_disks.errors import AlreadyRunning, HypervisorError, NotRunning
from vm_disks.resolution.chap import Credentials
from vm_disks.runtime.hypervisor import Hypervisor, attempting
from vm_disks.runtime.libvirt_binding import libvirt

POLL_S = 0.2
STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutting down",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
}


METADATA_URI = "https://lundock.io/vm-disks"


@dataclass(frozen=True)
class LiveDisk:
    """A disk of a running machine."""

    target: str
    bus: str
    read_only: bool


class Machine:
    """One domain of a hypervisor. Raises HypervisorError from every method."""

    def __init__(self, hypervisor: Hypervisor, domain: Any) -> None:
        self.hypervisor = hypervisor
        self.domain = domain
        self.name: str = domain.name()

    @property
    def state(self) -> str:
        """ "off" also for a domain that is gone, as a transient one is when it ends."""
        try:
            return STATES.get(self.domain.state()[0], "unknown")
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return "off"
            raise HypervisorError(f"Could not ask for the state of domain {self.name}: {error}.") from error

    @property
    def uses_kvm(self) -> bool:
        with attempting(f"ask what runs domain {self.name}"):
            return ET.fromstring(self.xml).get("type") == "kvm"  # noqa: S314 (the daemon's own)

    @property
    def stuck(self) -> bool:
        """Whether the virtual CPU gave up (QEMU's state internal-error): paused, and nobody asked for it."""
        try:
            return list(self.domain.state()) == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_UNKNOWN]
        except libvirt.libvirtError:
            return False

    @property
    def xml(self) -> str:
        with attempting(f"read the XML of domain {self.name}"):
            return str(self.domain.XMLDesc())

    @property
    def attached(self) -> dict[str, str]:
        """Disks that `attach` added, and their claims; in the domain's metadata, for it is the only one to know."""
        try:
            text = self.domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return {}
            raise HypervisorError(f"Could not read the metadata of domain {self.name}: {error}.") from error
        return {claim.get("disk", ""): str(claim.text) for claim in ET.fromstring(text)}  # noqa: S314 (our own)

    def remember(self, attached: Mapping[str, str]) -> None:
        """Note which claims the attached disks are."""
        root = ET.Element("claims")
        for disk, claim in attached.items():
            ET.SubElement(root, "claim", disk=disk).text = claim
        text = ET.tostring(root, encoding="unicode")
        with attempting(f"note the claims of domain {self.name}"):
            self.domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "vm-disks", METADATA_URI)

    def attach(self, devices: Sequence[str], credentials: dict[str, Credentials]) -> None:
        """Plug these device elements in, in this order."""
        with self.hypervisor.secrets(credentials):
            for device in devices:
                with attempting(f"attach a device to domain {self.name}"):
                    self.domain.attachDeviceFlags(device, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def detach(self, alias: str, timeout_s: float) -> bool:
        """Unplug the disk of this alias. False when the guest has not let go of it in time; it may do so later."""
        disk = self._disk(alias)
        if disk is None:
            raise HypervisorError(
                f"Domain {self.name} has no disk {alias.removeprefix('ua-')}. `virsh domblklist` lists them."
            )
        with attempting(f"detach {alias.removeprefix('ua-')} from domain {self.name}"):
            self.domain.detachDeviceFlags(ET.tostring(disk, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        deadline = time.monotonic() + timeout_s
        while self._disk(alias) is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def live(self, alias: str) -> LiveDisk | None:
        """The disk of this alias as it is: a spec that has changed since the start can't tell."""
        disk = self._disk(alias)
        target = None if disk is None else disk.find("target")
        if disk is None or target is None:
            return None
        return LiveDisk(target.get("dev", ""), target.get("bus", ""), disk.find("readonly") is not None)

    def _disk(self, alias: str) -> ET.Element | None:
        disks = ET.fromstring(self.xml).findall("./devices/disk")  # noqa: S314 (the daemon's own)
        return next(
            (disk for disk in disks if (found := disk.find("alias")) is not None and found.get("name") == alias), None
        )

    def disk_bytes(self, target: str) -> int:
        """The disk's size as the guest sees it."""
        with attempting(f"ask for the size of {target} of domain {self.name}"):
            return int(self.domain.blockInfo(target)[0])

    def grow(self, target: str, size_bytes: int) -> None:
        with attempting(f"tell domain {self.name} the new size of {target}"):
            self.domain.blockResize(target, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def migrate(self, to: Hypervisor, credentials: dict[str, Credentials], via: str | None = None) -> None:
        """Live, to another daemon, whose QEMU logs in to the LUNs too; `via` is the URI on which it listens."""
        parameters = {libvirt.VIR_MIGRATE_PARAM_URI: via} if via else {}
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        with to.secrets(credentials), attempting(f"migrate domain {self.name} to {to.uri}"):
            self.domain.migrate3(to.connection, parameters, flags)

    def resume(self) -> None:
        with attempting(f"let domain {self.name} run"):
            self.domain.resume()

    def wait_until_off(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.state != "off":
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def shut_down(self, grace_s: float) -> bool:
        """Press the power button (ACPI), wait for the guest to obey, then pull the plug. True: the guest obeyed.

        A guest that is still booting does not see the button, so it is pressed again every few seconds.
        """
        deadline = time.monotonic() + grace_s
        while self.state == "running" and (left_s := deadline - time.monotonic()) > 0:
            try:
                self.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            except libvirt.libvirtError:
                break  # it ended in between, or can't: both are seen below
            if self.wait_until_off(min(5, left_s)):
                return True
        if self.wait_until_off(max(0, deadline - time.monotonic()) if self.state == "shutting down" else 0):
            return True
        self.destroy()
        return False

    def destroy(self) -> None:
        """Pull the plug. Nothing to do when the domain is gone."""
        if self.state == "off":
            return
        try:
            self.domain.destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                raise HypervisorError(f"Could not end domain {self.name}: {error}.") from error


def find(hypervisor: Hypervisor, name: str) -> Machine:
    """The running domain of this name.

    Raises:
        NotRunning: there is none.
        HypervisorError: libvirt can't be asked.
    """
    domain = hypervisor.find(name)
    with attempting(f"look for domain {name} on {hypervisor.uri}"):
        running = domain is not None and domain.isActive()
    if not running:
        raise NotRunning(f"No domain {name} runs on {hypervisor.uri}. Start it with `vm-disks start`.")
    return Machine(hypervisor, domain)


def create(hypervisor: Hypervisor, name: str, xml: str, credentials: dict[str, Credentials]) -> Machine:
    """A domain that is logged in to its LUNs but paused, so that a console can be opened before the first byte.

    Raises:
        AlreadyRunning: there is a domain of this name already.
        HypervisorError: libvirt can't start it.
    """
    if hypervisor.find(name) is not None:
        raise AlreadyRunning(
            f"Domain {name} exists on {hypervisor.uri} already. "
            "Look at it with `vm-disks console`, end it with `vm-disks stop`."
        )
    with (
        hypervisor.secrets(credentials),
        attempting(f"start domain {name} on {hypervisor.uri}", "`vm-disks check` looks for the cause"),
    ):
        return Machine(hypervisor, hypervisor.connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED))
