"""The local files of a VM: seed ISOs for cloud-init, scratch disks, overlays. They live as long as the VM runs."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from vm_disks.errors import SpecError
from vm_disks.model import CloudInitSource, Disk, EmptyDiskSource, VmSpec
from vm_disks.resolution.chap import Credentials
from vm_disks.resolution.lookup import Lookup
from vm_disks.runtime import state, tools
from vm_disks.xml import domain_xml
from vm_disks.xml.disk_xml import needs_file

MAX_LABEL = 63
"""Of a host name's first part (RFC 1123 section 2.1)."""
SEED_LABELS = {"NoCloud": "cidata", "ConfigDrive": "config-2"}
"""cloud-init finds its seed by the file system's label (its documentation, NoCloud and ConfigDrive)."""


def make(vm: VmSpec, disks: Sequence[Disk], lookup: Lookup, credentials: Mapping[str, Credentials]) -> tuple[Disk, ...]:
    """The same disks, with their files made anew.

    Raises:
        SpecError: a seed's Secret won't do.
        ToolError: a program that makes the files is missing or failed.
        ClusterError: a seed's Secret can't be looked up.
        LocalFileError: this host has no room, or no right, for the files.
    """
    place = state.directory(domain_xml.name(vm))
    remove(place.name)
    made = []
    for disk in disks:
        if not needs_file(disk):
            made.append(disk)
            continue
        with state.writing(f"make the file of disk {disk.spec.name}"):
            place.mkdir(parents=True, exist_ok=True, mode=0o711)
            made.append(dataclasses.replace(disk, file=str(_make(place, vm, disk, lookup, credentials))))
    return tuple(made)


def remove(domain: str) -> None:
    """Nothing to do where there is none."""
    shutil.rmtree(state.directory(domain), ignore_errors=True)


def _make(place: Path, vm: VmSpec, disk: Disk, lookup: Lookup, credentials: Mapping[str, Credentials]) -> Path:
    match disk.spec.source:
        case CloudInitSource() as seed:
            file = place / f"{disk.spec.name}.iso"
            tools.make_iso(file, SEED_LABELS[seed.kind], seed_files(seed, vm, disk.spec.path, lookup))
        case EmptyDiskSource(capacity_bytes=size_bytes):
            file = place / f"{disk.spec.name}.qcow2"
            tools.make_qcow2(file, size_bytes)
        case _:  # an overlay is as large as the LUN under it, which the PV's capacity need not say to the byte
            assert disk.address is not None  # noqa: S101
            file = place / f"{disk.spec.name}.qcow2"
            tools.make_qcow2(file, tools.capacity_bytes(disk.address, credentials.get(disk.secret_usage or "")))
    return file


def seed_files(seed: CloudInitSource, vm: VmSpec, path: str, lookup: Lookup) -> dict[str, bytes]:
    """The files of a seed as KubeVirt makes them.

    Args:
        seed: what the spec says of it.
        vm: whose seed it is.
        path: the disk's in the spec, for the message.
        lookup: where the Secrets are.

    Returns:
        What is in each file, by its path on the ISO.

    Raises:
        SpecError: a Secret is missing, lacks its key, or has there what is not base64.
        ClusterError: a Secret can't be looked up.
    """
    user_data = seed.user_data
    if seed.user_data_secret:
        user_data = _secret_data(lookup, vm.namespace, seed.user_data_secret, "userdata", path)
    network_data = seed.network_data
    if seed.network_data_secret:
        network_data = _secret_data(lookup, vm.namespace, seed.network_data_secret, "networkdata", path)
    identity = f"{vm.name}.{vm.namespace}"
    hostname = vm.hostname or vm.name.partition(".")[0][:MAX_LABEL]
    if seed.kind == "NoCloud":
        metadata = {"instance-id": identity, "local-hostname": hostname}
        files = {"meta-data": json.dumps(metadata).encode(), "user-data": user_data}
        return files | ({"network-config": network_data} if network_data else {})
    metadata = {"instance_id": identity, "local_hostname": hostname, "hostname": hostname, "uuid": domain_xml.uuid(vm)}
    latest = "openstack/latest"
    files = {f"{latest}/meta_data.json": json.dumps(metadata).encode(), f"{latest}/user_data": user_data}
    return files | ({f"{latest}/network_data.json": network_data} if network_data else {})


def _secret_data(lookup: Lookup, namespace: str, name: str, key: str, path: str) -> bytes:
    """KubeVirt takes the key in lower case (userdata) and in camel case (userData)."""
    secret = lookup.secret(namespace, name)
    if secret is None:
        raise SpecError(path, f"there is no Secret {namespace}/{name}. Create it, with the key {key}")
    keys = (key, key.replace("data", "Data"))
    for candidate in keys:
        plain = (secret.get("stringData") or {}).get(candidate)
        if plain is not None:
            return str(plain).encode()
        encoded = (secret.get("data") or {}).get(candidate)
        if encoded is not None:
            try:
                return base64.b64decode(str(encoded), validate=True)
            except ValueError as error:
                raise SpecError(
                    path, f"Secret {namespace}/{name}: its key {candidate} is not base64: {error}. Correct it"
                ) from error
    raise SpecError(path, f"Secret {namespace}/{name} has no key {keys[0]} or {keys[1]}. Add it")
