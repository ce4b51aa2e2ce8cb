"""libvirt's Python binding, or a sentence that says how to get it. The only module that imports it."""

from __future__ import annotations

from vm_disks.errors import HypervisorError

try:
    import libvirt
except ModuleNotFoundError as error:
    raise HypervisorError(
        "libvirt's Python binding is not installed, which all but xml, domain and list need. Install Debian's package "
        "python3-libvirt, or libvirt-python with pip, for the Python that runs vm-disks."
    ) from error

__all__ = ["libvirt"]
