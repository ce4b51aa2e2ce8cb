"""Claims in VM specs become libvirt iSCSI disks. What a runtime of another project needs is named here."""

from vm_disks.model import Disk, VmSpec
from vm_disks.resolution.lookup import Lookup
from vm_disks.resolution.vm import resolve, resolve_each

__all__ = ["Disk", "Lookup", "VmSpec", "resolve", "resolve_each"]
