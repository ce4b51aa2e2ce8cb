"""The claims that CDI would make of DataVolumes, and KubeVirt with it of a VM's dataVolumeTemplates. Pure.

Reference: https://github.com/kubevirt/containerized-data-importer/blob/main/doc/datavolumes.md
"""

from __future__ import annotations

from collections.abc import Iterator

from vm_disks.objects import Document, mappings, part


def claims(document: Document) -> Iterator[Document]:
    """A claim of the same name for each DataVolume, with no status: nobody has bound or filled it yet."""
    if document.get("kind") == "DataVolume":
        yield _claim(document, part(document, "metadata").get("namespace"))
        return
    for owner in (part(document, "spec"), part(document, "spec", "virtualMachineTemplate", "spec")):
        for template in mappings(owner, "dataVolumeTemplates"):
            yield _claim(template, part(document, "metadata").get("namespace"))


def _claim(data_volume: Document, namespace: object) -> Document:
    """`storage` is `pvc` with parts that CDI may fill in from its StorageProfile; here they stay as they are."""
    spec = part(data_volume, "spec", "pvc") or part(data_volume, "spec", "storage")
    metadata = {"name": part(data_volume, "metadata").get("name")}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
