"""A connection to libvirt's QEMU driver, with errors that say what was attempted and what to do."""

from __future__ import annotations

import getpass
import os
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vm_disks.errors import HypervisorError
from vm_disks.resolution.chap import Credentials
from vm_disks.runtime.libvirt_binding import libvirt

# libvirt prints every error to stderr as well, unless it is given a handler.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


@cache
def _run_event_loop() -> None:
    """libvirt's own loop, in a thread: consoles need it. It has to be there before the first connection."""
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt events", daemon=True).start()


def default_uri() -> str:
    """The user's choice in LIBVIRT_DEFAULT_URI, or the daemon that is this user's: root has the system's."""
    return os.environ.get("LIBVIRT_DEFAULT_URI") or ("qemu:///system" if os.geteuid() == 0 else "qemu:///session")


@contextmanager
def attempting(what: str, fix: str | None = None) -> Iterator[None]:
    """Turn libvirt's own errors into ours.

    Args:
        what: what is attempted, as in "Could not WHAT".
        fix: what to do, without a full stop.

    Raises:
        HypervisorError: libvirt raised an error, which comes as a sentence.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        reason = (error.get_error_message() or str(error)).rstrip(".")
        raise HypervisorError(f"Could not {what}: {reason}." + (f" {fix}." if fix else "")) from error


class Hypervisor:
    """One libvirt daemon. Raises HypervisorError from every method."""

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or default_uri()
        fix = (
            "Is it running? Start it with `systemctl start libvirtd`, or without systemd `virtlogd -d; libvirtd -d`"
            if self.is_system
            else "Is libvirtd installed (Debian package libvirt-daemon)? It starts by itself for qemu:///session"
        )
        _run_event_loop()
        with attempting(f"connect to libvirt at {self.uri}", fix):
            self.connection = libvirt.open(self.uri)

    def __enter__(self) -> Hypervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def hostname(self) -> str:
        with attempting("ask libvirt for its host's name"):
            return str(self.connection.getHostname())

    @property
    def place(self) -> str:
        """The host, and for a session daemon its user: two daemons may each have a domain of one name."""
        return self.hostname if self.is_system else f"{self.hostname}+{getpass.getuser()}"

    def runs(self, name: str) -> bool:
        return self.find(name) is not None

    def offers_kvm(self) -> bool:
        """Whether this daemon may use KVM, and on this host a processor that can. That is a hint (`MachineStuck`).

        The kvm-pvm of some cloud hosts has a /dev/kvm without vmx or svm, and stands still in the boot loader.
        """
        with attempting("read libvirt's capabilities"):
            capabilities = ET.fromstring(self.connection.getCapabilities())  # noqa: S314 (the daemon's own)
        offered = capabilities.find("./guest[os_type='hvm']/arch[@name='x86_64']/domain[@type='kvm']") is not None
        return offered and (not self.is_local or _processor_virtualizes())

    @property
    def is_system(self) -> bool:
        """Whether it is the host's own daemon, and not a user's."""
        return urlsplit(self.uri).path == "/system"

    @property
    def is_local(self) -> bool:
        return not urlsplit(self.uri).netloc

    def find(self, name: str) -> Any | None:
        """libvirt's domain of this name."""
        with attempting(f"look for domain {name} on {self.uri}"):
            # Listing, because looking up what is missing is an error like any other.
            domains = self.connection.listAllDomains()
            return next((domain for domain in domains if domain.name() == name), None)

    @contextmanager
    def secrets(self, credentials: dict[str, Credentials]) -> Iterator[None]:
        """Passwords by usage, known to libvirt while a domain or disk starts, and gone afterwards.

        QEMU gets its copy (encrypted, over its monitor) at start, so libvirt need not keep one: nothing is left behind
        when the guest powers itself off. Private: no client can read the value back. Ephemeral: never on disk.
        """
        with ExitStack() as defined:
            for usage, chap in credentials.items():
                self._forget(usage)
                fix = "If somebody has defined one of this usage (`virsh secret-list`), `virsh secret-undefine` it"
                with attempting(f"give libvirt the CHAP secret {usage}", fix):
                    secret = self.connection.secretDefineXML(_secret_xml(usage))
                    defined.callback(_undefine, secret)
                    secret.setValue(chap.password.encode())
            yield

    def _forget(self, usage: str) -> None:
        """A secret of ours that a vm-disks left that was killed; libvirt would refuse a second one of its usage."""
        ours = libvirt.VIR_CONNECT_LIST_SECRETS_EPHEMERAL | libvirt.VIR_CONNECT_LIST_SECRETS_PRIVATE
        with attempting("look for secrets that were left behind"):
            for secret in self.connection.listAllSecrets(ours):
                if secret.usageID() == usage and secret.usageType() == libvirt.VIR_SECRET_USAGE_TYPE_ISCSI:
                    secret.undefine()


def _undefine(secret: Any) -> None:
    with attempting("remove a CHAP secret from libvirt"):
        secret.undefine()


def _secret_xml(usage: str) -> str:
    secret = ET.Element("secret", ephemeral="yes", private="yes")
    element = ET.SubElement(secret, "usage", type="iscsi")
    ET.SubElement(element, "target").text = usage
    return ET.tostring(secret, encoding="unicode")


def _processor_virtualizes() -> bool:
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return flags is not None and not {"vmx", "svm"}.isdisjoint(flags[1].split())
