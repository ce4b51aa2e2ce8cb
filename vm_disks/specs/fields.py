"""What happens to each field of a VM spec: one table, checked against every spec, and docs/reference/vm-specs.md.

Paths are below the VirtualMachineInstance's spec; `[]` is any item. A field without fields below it in the
table stands for all that is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from vm_disks.specs.node import Node


class Fate(Enum):
    HONOURED = "honoured"
    ELSEWHERE = "not ours"
    IGNORED = "ignored, with a warning"
    UNSUPPORTED = "not supported"
    REFUSED = "refused"


@dataclass(frozen=True)
class Field:
    path: str
    fate: Fate
    note: str
    """What it becomes (HONOURED), or why not."""


def _all(fate: Fate, notes: dict[str, str], prefix: str = "") -> list[Field]:
    return [Field(f"{prefix}{path}", fate, note) for path, note in notes.items()]


_DISK = "domain.devices.disks[]."
_VOLUME = "volumes[]."

_DISKS = [
    *_all(
        Fate.HONOURED,
        {
            "name": "alias `ua-NAME`; names the volume",
            "disk.bus": "`target/@bus`: virtio, sata, scsi or usb; see the defaults below",
            "disk.readonly": "`readonly`",
            "disk.pciAddress": "`address type='pci'` (virtio only), from 0000:00:03.0 to 0000:00:1e.0",
            "disk.rotationRate": "`target/@rotation_rate` (sata and scsi): 1 is an SSD, 1025 to 65534 turns a minute",
            "lun.bus": "`target/@bus`: scsi, the only one that libvirt takes for a LUN over iSCSI",
            "lun.readonly": "`readonly`",
            "cdrom.bus": "`target/@bus`: sata, scsi or usb",
            "cdrom.readonly": "must be true or absent: a CD-ROM is read-only",
            "cdrom.tray": "`target/@tray`",
            "bootOrder": "`boot/@order`; unique among disks and interfaces",
            "serial": "`serial`; not of a lun, which has its own; a guest may see its first 20 characters only",
            "dedicatedIOThread": "`driver/@iothread` (virtio only)",
            "cache": "`driver/@cache`: none, writethrough or writeback",
            "io": "`driver/@io`: native (with cache none) or threads; no effect on QEMU's iSCSI driver",
            "blockSize.custom.logical": "`blockio/@logical_block_size`",
            "blockSize.custom.physical": "`blockio/@physical_block_size`",
            "shareable": "`shareable`, and cache none",
            "errorPolicy": "`driver/@error_policy`: stop, ignore, report or enospace",
        },
        _DISK,
    ),
    *_all(
        Fate.REFUSED,
        {
            "lun.reservation": "libvirt accepts it on an iSCSI disk and does nothing; a lun passes the guest's own",
            "floppy": "a floppy drive can't be on iSCSI; KubeVirt dropped it too",
            "blockSize.custom.discardGranularity": "libvirt 9, in Debian 12, has no word for it and would drop it",
            "blockSize.matchVolume": "QEMU can't ask the LUN before it starts; give blockSize.custom",
            "changedBlockTracking": "needs a qcow2 file of QEMU's own beside the LUN",
        },
        _DISK,
    ),
    *_all(
        Fate.UNSUPPORTED,
        {"tag": "device tags reach the guest in KubeVirt's own ConfigDrive metadata"},
        _DISK,
    ),
]

_VOLUMES = [
    *_all(
        Fate.HONOURED,
        {
            "name": "the disk of the same name; without one a disk is added",
            "persistentVolumeClaim.claimName": "the claim in the VM's namespace, its PV and its LUN: `source`",
            "persistentVolumeClaim.readOnly": "`readonly`",
            "persistentVolumeClaim.hotpluggable": "bus scsi, unless the disk says virtio",
            "dataVolume.name": "the claim of the same name, which CDI or a provisioner fills",
            "dataVolume.hotpluggable": "as for a persistentVolumeClaim",
            "ephemeral.persistentVolumeClaim.claimName": "a qcow2 overlay that is lost with the VM",
            "ephemeral.persistentVolumeClaim.readOnly": "true or not, the LUN is never written",
            "emptyDisk.capacity": "a scratch qcow2 file",
        },
        _VOLUME,
    ),
    *_all(
        Fate.HONOURED,
        {
            f"{kind}.{field}": note
            for kind in ("cloudInitNoCloud", "cloudInitConfigDrive")
            for field, note in {
                "userData": "a seed ISO",
                "userDataBase64": "a seed ISO",
                "secretRef": "a seed ISO; the Secret's key userdata, read at start",
                "networkData": "a seed ISO",
                "networkDataBase64": "a seed ISO",
                "networkDataSecretRef": "a seed ISO; the Secret's key networkdata, read at start",
            }.items()
        },
        _VOLUME,
    ),
    *_all(
        Fate.UNSUPPORTED,
        {
            "containerDisk": "a disk in a container image needs a container runtime",
            "registryDisk": "a disk in a container image needs a container runtime",
            "hostDisk": "a file on a node",
            "configMap": "KubeVirt makes an ISO of it in the VM's pod",
            "secret": "KubeVirt makes an ISO of it in the VM's pod",
            "downwardAPI": "KubeVirt makes an ISO of it in the VM's pod",
            "downwardMetrics": "needs KubeVirt's handler on the node",
            "serviceAccount": "KubeVirt makes an ISO of it in the VM's pod",
            "sysprep": "KubeVirt makes an ISO of it in the VM's pod",
            "memoryDump": "a target for KubeVirt's memory dumps, not a disk",
            "containerPath": "a path in the VM's pod",
        },
        _VOLUME,
    ),
]

_DOMAIN = [
    *_all(
        Fate.HONOURED,
        {
            "cpu.cores": "`vcpu`, `cpu/topology/@cores`",
            "cpu.sockets": "`vcpu`, `cpu/topology/@sockets`",
            "cpu.threads": "`vcpu`, `cpu/topology/@threads`",
            "cpu.model": "`cpu`: host-model, host-passthrough or a model's name; KVM only, emulation gives its maximum",
            "memory.guest": "`memory`",
            "resources.limits.memory": "`memory`, when memory.guest is absent",
            "resources.limits.cpu": "`vcpu`, rounded up, when cpu has no topology",
            "resources.requests.memory": "`memory`, when nothing else says it",
            "resources.requests.cpu": "`vcpu`, rounded up, when nothing else says it",
            "machine.type": "`os/type/@machine`: q35 (default), pc, or a versioned one of these",
            "firmware.bootloader.bios": "SeaBIOS, the default",
            "firmware.bootloader.efi.secureBoot": "`os/firmware`; true when absent, as in KubeVirt",
            "firmware.uuid": "`uuid`",
            "clock.utc": "`clock/@offset`: utc, the default",
            "clock.timezone": "`clock/@timezone`",
            "features.acpi": "`features/acpi`, always on",
            "features.apic": "`features/apic`, always on",
            "features.smm": "`features/smm`, on with Secure Boot",
            "devices.blockMultiQueue": "`driver/@queues` of virtio disks: one per vCPU",
            "devices.useVirtioTransitional": "`@model='virtio-transitional'`",
            "devices.autoattachGraphicsDevice": "`graphics` and `video`",
            "devices.autoattachSerialConsole": "`serial` and `console`",
            "devices.autoattachPodInterface": "false: no `interface`",
            "devices.rng": "`rng`; always there",
            "devices.interfaces[].name": "alias `ua-NAME`",
            "devices.interfaces[].model": "`interface/model/@type`",
            "devices.interfaces[].macAddress": "`interface/mac`",
            "devices.interfaces[].bootOrder": "`interface/boot/@order`",
        },
        "domain.",
    ),
    *_all(
        Fate.IGNORED,
        {
            "devices.disableHotplug": "hot plug is up to the user",
            "devices.inputs": "a tablet is there whenever graphics are",
            "devices.sound": "no sound device is made",
            "devices.tpm": "no TPM is made",
            "devices.watchdog": "no watchdog is made",
            "devices.video": "the video model is vga",
            "devices.gpus": "host devices aren't passed through",
            "devices.hostDevices": "host devices aren't passed through",
            "devices.filesystems": "virtiofs is not set up",
            "devices.clientPassthrough": "USB redirection is not set up",
            "devices.downwardMetrics": "needs KubeVirt's handler on the node",
            "devices.panicDevices": "no panic device is made",
            "devices.networkInterfaceMultiqueue": "interfaces have one queue",
            "features.hyperv": "what Windows likes of Hyper-V stays at libvirt's default",
            "features.hypervPassthrough": "what Windows likes of Hyper-V stays at libvirt's default",
            "features.kvm": "KVM's own features stay at libvirt's default",
            "features.pvspinlock": "spinlocks stay at libvirt's default",
            "clock.timer": "timers stay at libvirt's defaults",
            "clock.utc.offsetSeconds": "the clock is UTC",
            "chassis": "SMBIOS stays at libvirt's defaults",
            "ioThreads": "only dedicatedIOThread makes I/O threads",
            "ioThreadsPolicy": "only dedicatedIOThread makes I/O threads",
            "launchSecurity": "no memory encryption",
            "memory.hugepages": "memory is ordinary memory",
            "memory.maxGuest": "memory is not hot plugged",
            "memory.reservedOverhead": "a matter of KubeVirt's pod",
            "cpu.features": "the CPU model decides",
            "cpu.numa": "one NUMA node",
            "cpu.maxSockets": "vCPUs are not hot plugged",
            "firmware.serial": "SMBIOS stays at libvirt's defaults",
            "firmware.kernelBoot": "the VM boots from its disks",
            "firmware.acpi": "ACPI tables stay at libvirt's defaults",
            "firmware.bootloader.bios.useSerial": "SeaBIOS writes to the screen",
            "firmware.bootloader.efi.persistent": "UEFI variables last as long as libvirt keeps the VM's file",
            "rebootPolicy": "a reboot is a reboot",
        },
        "domain.",
    ),
    *_all(
        Fate.ELSEWHERE,
        {
            "cpu.dedicatedCpuPlacement": "a node's pinning",
            "cpu.isolateEmulatorThread": "a node's pinning",
            "cpu.realtime": "a node's pinning",
            "resources": "other resources are the cluster's",
            "devices.interfaces[]": "how the interface is connected is this machine's choice (--network)",
            "devices.autoattachMemBalloon": "libvirt's default balloon",
            "devices.autoattachInputDevice": "a tablet is there whenever graphics are",
            "devices.autoattachVSOCK": "no vsock device",
            "devices.logSerialConsole": "the console's log is this machine's choice",
        },
        "domain.",
    ),
]

_SPEC = [
    *_all(
        Fate.HONOURED,
        {
            "architecture": "amd64; no other is run",
            "hostname": "`local-hostname` in the seed of cloud-init; the VM's name up to its first dot when absent",
            "networks[].name": "the interface of the same name",
            "networks[].pod": "this machine's network (`--network`)",
        },
    ),
    *_all(Fate.UNSUPPORTED, {"networks[].multus": "secondary networks are the cluster's", "networks[].genie": "gone"}),
    *_all(
        Fate.IGNORED,
        {
            "accessCredentials": "users and keys are not injected; use cloud-init",
            "resourceClaims": "host devices aren't passed through",
            "utilityVolumes": "KubeVirt's own",
        },
    ),
    *_all(
        Fate.ELSEWHERE,
        dict.fromkeys(
            (
                "affinity",
                "dnsConfig",
                "dnsPolicy",
                "evictionStrategy",
                "livenessProbe",
                "nodeSelector",
                "priorityClassName",
                "readinessProbe",
                "schedulerName",
                "startStrategy",
                "subdomain",
                "terminationGracePeriodSeconds",
                "tolerations",
                "topologySpreadConstraints",
            ),
            "a matter of the cluster",
        ),
    ),
]

FIELDS = {field.path: field for field in (*_DISKS, *_VOLUMES, *_DOMAIN, *_SPEC)}

LEGACY_FIELDS = {
    field.path: field
    for field in (
        *_all(
            Fate.HONOURED,
            {
                "volumeName": "the volume's name (v1alpha1, v1alpha2)",
                "disk.dev": "`target/@dev` (v1alpha1)",
                "lun.dev": "`target/@dev` (v1alpha1)",
                "cdrom.dev": "`target/@dev` (v1alpha1)",
            },
            _DISK,
        ),
        *_all(
            Fate.UNSUPPORTED,
            {"iscsi": "the LUN itself, as v1alpha1 had it for some months; make a PersistentVolume and a claim of it"},
            _VOLUME,
        ),
    )
}
"""Fields that only specs before v1alpha3 have."""


def check(spec: Node, fields: dict[str, Field]) -> Iterable[str]:
    """Report refused, unsupported and (in disks and volumes) unknown fields; give the others' warnings."""
    inner = {parent for path in fields for parent in _parents(path)}
    return list(_check(spec, "", fields, inner))


def _check(node: Node, path: str, fields: dict[str, Field], inner: set[str]) -> Iterator[str]:
    if node.value is None:
        return
    if path in inner and isinstance(node.value, list):
        for item in node.items():
            yield from _check(item, f"{path}[]", fields, inner)
        return
    field = fields.get(path)
    if field:
        yield from _meet(node, field)
    if path in inner and isinstance(node.value, dict):
        for name in node.value:
            below = f"{path}.{name}" if path else str(name)
            known = below in inner or f"{below}[]" in inner or below in fields
            if known:
                yield from _check(node[str(name)], below, fields, inner)
            elif path.startswith(("domain.devices.disks[]", "volumes[]")):
                node[str(name)].fault("no such field")
            elif not field:
                yield f"{node[str(name)].path}: not known here"


def _meet(node: Node, field: Field) -> Iterator[str]:
    match field.fate:
        case Fate.REFUSED:
            node.fault(field.note)
        case Fate.UNSUPPORTED:
            node.unsupported(f"not supported: {field.note}")
        case Fate.IGNORED:
            yield f"{node.path}: {field.note}"


def _parents(path: str) -> Iterator[str]:
    """The paths above one: "a[].b" has "", "a" and "a[]"."""
    yield ""
    steps = path.split(".")
    for count in range(1, len(steps) + 1):
        above = ".".join(steps[:count])
        if above.endswith("[]"):
            yield above.removesuffix("[]")
        if count < len(steps):
            yield above
