"""KubeVirt's onDefineDomain hook: disks that an annotation maps become iSCSI disks of the VM's own QEMU.

KubeVirt's sidecar shim calls `onDefineDomain --vmi JSON --domain XML` and takes the domain from standard output. It
calls more than once, on XML that went through its own types, so each disk is found by its alias and made anew.
The pod cannot read PVs, so the annotation holds what they say (`vm-disks annotation` prints it).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from vm_disks import specs
from vm_disks.errors import SpecError, VmDisksError
from vm_disks.model import Disk
from vm_disks.objects import mappings, part
from vm_disks.resolution.address import ChapReference
from vm_disks.resolution.lookup import FromManifests
from vm_disks.resolution.vm import resolve
from vm_disks.xml import domain_xml

ANNOTATION = "lundock.io/disks"
KEYS = {"portal", "iqn", "lun", "readOnly", "initiatorName", "chap"}


def annotation(disks: list[Disk]) -> str:
    """The map of a VM's claims: one JSON line, and no password in it."""
    entries: dict[str, Any] = {}
    for disk in disks:
        if disk.address is None:
            continue
        address = disk.address
        entry: dict[str, Any] = {"portal": str(address.portals[0]), "iqn": address.iqn, "lun": address.lun}
        if address.read_only:
            entry["readOnly"] = True
        if address.initiator_name:
            entry["initiatorName"] = address.initiator_name
        if address.chap:
            entry["chap"] = {"username": address.chap.username, "usage": disk.secret_usage}
        entries[disk.spec.name] = entry
    return json.dumps(entries)


def transform(vmi: Mapping[str, Any], domain: str) -> str:
    """The domain with the disks that the VMI's annotation maps; the same as it was without one.

    Raises:
        SpecError: the annotation is not such a map, or maps a disk that the VM has not.
        Faults: names everything that is wrong with the mapped disks.
        DomainError: the domain can't be read, or a text of a disk has what XML can't carry.
    """
    mapped = _mapped(vmi)
    if not mapped:
        return domain
    vm = specs.read(_of_mapped_disks(vmi, mapped), skip_unsupported=True)
    if missing := mapped.keys() - {disk.name for disk in vm.disks}:
        raise SpecError(f"metadata.annotations[{ANNOTATION}]", f"the VM has no disk {', '.join(sorted(missing))}")
    lookup = FromManifests([one for name in mapped for one in _claim(name, mapped[name], vm.namespace)], vm.namespace)
    disks = [_with_chap(disk, mapped[disk.spec.name], vm.namespace) for disk in resolve(vm, lookup)]
    return domain_xml.into(domain, vm, disks)


def _mapped(vmi: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    path = f"metadata.annotations[{ANNOTATION}]"
    text = part(vmi, "metadata", "annotations").get(ANNOTATION)
    if text is None:
        return {}
    try:
        mapped = json.loads(text)
    except (ValueError, TypeError) as error:
        raise SpecError(path, f"is not JSON: {error}. `vm-disks annotation` prints it") from error
    if not isinstance(mapped, dict) or not all(isinstance(entry, dict) for entry in mapped.values()):
        raise SpecError(path, "must map disk names to objects. `vm-disks annotation` prints it")
    for name, entry in mapped.items():
        if unknown := entry.keys() - KEYS:
            raise SpecError(f"{path}.{name}", f"has {', '.join(sorted(unknown))}; known are {', '.join(sorted(KEYS))}")
    return mapped


def _of_mapped_disks(vmi: Mapping[str, Any], mapped: Mapping[str, Any]) -> dict[str, Any]:
    """A VMI with what the mapped disks need, each on a claim of its own name in place of its placeholder.

    All else is KubeVirt's own business: what it can do and vm_disks can't is no reason to fail the VM's start.
    """
    domain = part(vmi, "spec", "domain")
    devices = part(domain, "devices")
    kept = {name: devices[name] for name in ("blockMultiQueue", "useVirtioTransitional") if name in devices}
    names = [str(volume.get("name")) for volume in mappings(part(vmi, "spec"), "volumes")]
    reduced: dict[str, Any] = {
        "devices": {**kept, "disks": [disk for disk in mappings(devices, "disks") if str(disk.get("name")) in mapped]},
        "cpu": {name: part(domain, "cpu").get(name) for name in ("sockets", "cores", "threads")},
        "resources": part(domain, "resources"),
    }
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names if name in mapped]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": vmi.get("metadata"),
        "spec": {"domain": reduced, "volumes": volumes},
    }


def _claim(name: str, entry: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    """The entry as the manifests it was made of, so that it is checked as those are."""
    iscsi = {"targetPortal": entry.get("portal"), "iqn": entry.get("iqn"), "lun": entry.get("lun", 0)}
    iscsi |= {key: entry[key] for key in ("readOnly", "initiatorName") if key in entry}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    volume["spec"] = {"iscsi": iscsi, "claimRef": {"namespace": namespace, "name": name}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace}}
    claim["spec"] = {"volumeName": name}
    return [volume, claim | {"status": {"phase": "Bound"}}]


def _with_chap(disk: Disk, entry: Mapping[str, Any], namespace: str) -> Disk:
    chap = entry.get("chap")
    if not chap or disk.address is None:
        return disk
    if not (isinstance(chap, dict) and chap.get("username") and chap.get("usage")):
        raise SpecError(f"metadata.annotations[{ANNOTATION}].{disk.spec.name}.chap", "needs username and usage")
    reference = ChapReference(namespace, "", str(chap["username"]))
    address = dataclasses.replace(disk.address, chap=reference)
    return dataclasses.replace(disk, address=address, secret_usage=str(chap["usage"]))


@click.command()
@click.option("--vmi", required=True, metavar="JSON", help="The VirtualMachineInstance.")
@click.option("--domain", required=True, metavar="XML", help="The domain that KubeVirt made.")
def main(vmi: str, domain: str) -> None:
    """KubeVirt's onDefineDomain hook. Standard output is the domain and nothing else."""
    try:
        try:
            document = json.loads(vmi)
        except ValueError as error:
            raise SpecError("--vmi", f"is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise SpecError("--vmi", "is not a JSON object")
        click.echo(transform(document, domain), nl=False)
    except VmDisksError as error:
        click.echo(f"onDefineDomain: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
