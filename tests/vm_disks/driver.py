"""libvirt's real QEMU driver, in an unprivileged libvirtd of its own; nothing is started in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt

from tests.waiting import eventually
from vm_disks.xml import markup

NOBODY = 65534
START_TIMEOUT_S = 20.0
QUIET = lambda _context, _error: None  # noqa: E731 (libvirt prints each refusal to stderr otherwise)


@contextmanager
def private_libvirtd(directory: Path) -> Iterator[libvirt.virConnect]:
    """A connection to a session daemon, which as root is started for nobody. Its state is in `directory` alone."""
    home = str(directory)
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    os.chown(directory, user, -1)
    environment = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), home)
    daemon = subprocess.Popen(
        ["libvirtd", "--timeout", "300"],
        env={**environment, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        user=user if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        libvirt.registerErrorHandler(QUIET, None)
        connection = _connect(f"qemu+unix:///session?socket={directory}/libvirt/libvirt-sock", daemon)
        yield connection
        connection.close()
    finally:
        daemon.terminate()
        daemon.wait(timeout=START_TIMEOUT_S)


def _connect(uri: str, daemon: subprocess.Popen[bytes]) -> libvirt.virConnect:
    def attempt() -> libvirt.virConnect | None:
        try:
            return libvirt.open(uri)
        except libvirt.libvirtError:
            if daemon.poll() is not None:
                raise
            return None

    return eventually(attempt, f"libvirtd to answer at {uri}", START_TIMEOUT_S)


def accept(connection: libvirt.virConnect, xml: str) -> str:
    """QEMU's command line for a domain, its secrets defined.

    Raises:
        libvirtError: the driver refuses the domain.
    """
    root = markup.parse(xml)
    secrets = []
    for usage in {secret.get("usage") for secret in root.iter("secret")}:
        defined = connection.secretDefineXML(
            f"<secret ephemeral='yes' private='yes'><usage type='iscsi'><target>{usage}</target></usage></secret>"
        )
        defined.setValue(b"password")
        secrets.append(defined)
    try:
        connection.defineXML(xml).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        devices = root.find("devices")
        assert devices is not None
        markup.remove(devices, "interface")  # the conversion makes a tap device of any, which takes privilege
        command: str = connection.domainXMLToNative("qemu-argv", markup.text(root), 0)
    finally:
        for defined in secrets:
            defined.undefine()
    return command
