"""docs/reference/vm-specs.md, made from the tables that the readers go by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vm_disks.specs import READERS
from vm_disks.specs.fields import FIELDS, LEGACY_FIELDS, Fate, Field

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "vm-specs.md"

HEAD = """\
# VM specs: every field, and what happens to it

<!-- Made from the tables in vm_disks/specs: `pytest tests/vm_disks --rewrite-golden` writes it again. -->

`vm-disks` reads VM specs as KubeVirt has had them from 2017 to today. What a field becomes is said in libvirt's
[domain XML](https://libvirt.org/formatdomain.html). A field can be:

- **honoured**: it becomes what is written beside it;
- **not ours**: a matter of the cluster or of this machine, and taken in silence;
- **ignored, with a warning**: the VM runs, but not as the spec says;
- **not supported**: an error; `--skip-unsupported` leaves it out instead, and warns;
- **refused**: an error, for the guest would see something else than the spec says.

All errors of a spec are reported at once, each with its path. A field that the tables do not know is an error in a disk
or a volume, where it is most often a slip of the pen, and a warning elsewhere.

## Documents

Files may hold several YAML documents, JSON, Lists, OpenShift's Templates and KubeVirt's VirtualMachineTemplates.
`-p NAME=VALUE` gives a parameter its value; one that would be generated must be given, so that `stop` speaks of the
same VM as `start`. From files, a DataVolume or one of a VM's `dataVolumeTemplates` stands for the claim that CDI would
make of it; in a cluster the claim must be there. Beside the template, `instancetype` and `preference` are warned of and
not read: cpu and memory are those of the VM's own domain, or the defaults below.

| apiVersion | kind | the VM's spec is at |
|---|---|---|
"""

DEFAULTS = """\

The first form of all (`kubevirt.io/v1alpha1`, KubeVirt 0.0 and 0.1) names the claim in the disk:
`{type: PersistentVolumeClaim, device: disk, source: {name: CLAIM}, target: {dev: vda}}`. It is known by its `type`, of
which PersistentVolumeClaim is the one supported; `device`, `target.dev`, `target.bus`, `serial`, `readonly`,
`driver.cache`, `driver.io`, `driver.errorPolicy`, `boot.order` and `domain.memory` are honoured.

## Defaults

They are KubeVirt's, except for the bus, which must be able to work over iSCSI:

| what | when the spec says nothing |
|---|---|
| a volume without a disk | a disk is added, after the others |
| kind of disk | disk |
| bus | sata; scsi for a lun and for a hotpluggable volume; virtio for a read-only disk, or what only virtio has |
| device name | the first free one in spec order: vd* for virtio, sd* shared by sata, scsi and usb |
| cache | none on a LUN; QEMU's default for a CD-ROM and for the runtime's own files |
| error policy | stop |
| discard | unmap, except for a CD-ROM |
| boot order | the first disk, then the first CD-ROM |
| memory, vCPUs, machine, firmware | 512 MiB, 1, q35, BIOS |
| network | one virtio interface |

A disk is read-only if the disk, its volume, its claim (accessModes is ReadOnlyMany alone) or its PV says so. An overlay
(`ephemeral`) never writes to its LUN and stays writable.

## What a disk can't be

Refused with the path of the field, since KubeVirt rejects it, libvirt's driver refuses it, or libvirt takes it and does
something else: bus ide; a CD-ROM on virtio; a lun on anything but scsi, with a serial, or over a file (an overlay, a
scratch disk, a seed ISO); a read-only disk on sata; a hotpluggable volume on sata or usb; an I/O thread or a PCI
address off virtio; shareable for a lun, a CD-ROM or a file, or with a cache other than none; io native with a
cache; a boot order used twice, interfaces included; block sizes that are not powers of two from 512 to 2097152, or a
logical one larger than the physical one, or above 512 on sata, or any for a lun; one PCI slot or device name under two
disks; one LUN under two disks, also by two claims, unless both are shareable or none writes to it; an interface with
the name of a disk or of another interface.

Of an address: port 0 or above 65535, iSER, a LUN above 16383, a name that is not an iSCSI name, mutual CHAP.

"""

SECTIONS = (
    ("Disks", "domain.devices.disks[]."),
    ("Volumes", "volumes[]."),
    ("The domain", "domain."),
    ("The rest", ""),
)


def page() -> str:
    readers = "".join(f"| {version} | {kind} | `{path}` |\n" for (version, kind), (path, _) in READERS.items())
    return HEAD + readers + DEFAULTS + "\n".join(_sections())


def _sections() -> Iterable[str]:
    fields = {**FIELDS, **LEGACY_FIELDS}
    for title, prefix in SECTIONS:
        mine = {path: fields.pop(path) for path in list(fields) if path.startswith(prefix)}
        yield f"## {title}\n"
        if prefix:
            yield f"Below `{prefix.rstrip('.')}`.\n"
        yield "| field | fate | what it becomes, or why not |\n|---|---|---|"
        yield from (_row(field, prefix) for fate in Fate for field in mine.values() if field.fate is fate)
        yield ""


def _row(field: Field, prefix: str) -> str:
    return f"| `{field.path.removeprefix(prefix)}` | {field.fate.value} | {field.note} |"
