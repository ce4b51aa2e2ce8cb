"""VMs on this machine, through libvirt: the only package that imports it."""

from vm_disks.errors import HypervisorError

try:
    import libvirt  # noqa: F401 (whether it is there; the modules of this package use it)
except ModuleNotFoundError as error:
    raise HypervisorError(
        "libvirt's Python binding is not installed, which all but xml, domain and list need. Install Debian's package "
        "python3-libvirt, or libvirt-python with pip, for the Python that runs vm-disks."
    ) from error
