"""VM specs and claims as a user writes them, and the command that runs them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.vm_disks_runtime.target import Lun, Target

NAMESPACE = "default"


def claim(name: str, target: Target, lun: Lun, *, mode: str = "ReadWriteOnce", read_only: bool = False) -> list[Any]:
    """The claim, its volume and, with CHAP, its Secret."""
    iscsi: dict[str, Any] = {
        "targetPortal": target.portal,
        "iqn": lun.iqn,
        "lun": 1,
        "readOnly": read_only,
    }
    objects: list[Any] = []
    if lun.user is not None and lun.password is not None:
        iscsi |= {"chapAuthSession": True, "secretRef": {"name": f"{name}-chap", "namespace": NAMESPACE}}
        data = {"node.session.auth.username": lun.user, "node.session.auth.password": lun.password}
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/iscsi-chap",
                "metadata": {"name": f"{name}-chap", "namespace": NAMESPACE},
                "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
            }
        )
    size = {"storage": str(lun.file.stat().st_size)}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{name}"},
        "spec": {
            "capacity": size,
            "accessModes": [mode],
            "iscsi": iscsi,
            "claimRef": {"namespace": NAMESPACE, "name": name},
            "storageClassName": "",
        },
        "status": {"phase": "Bound"},
    }
    bound = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": size},
            "volumeName": f"pv-{name}",
            "storageClassName": "",
        },
        "status": {"phase": "Bound", "capacity": size},
    }
    return [*objects, volume, bound]


def vm(name: str, disks: Sequence[dict[str, Any]], volumes: Sequence[dict[str, Any]], **domain: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runStrategy": "Halted",
            "template": {
                "spec": {
                    "domain": {
                        "memory": {"guest": "256Mi"},
                        "devices": {"disks": list(disks)},
                        **domain,
                    },
                    "volumes": list(volumes),
                }
            },
        },
    }


def from_claim(disk: str, claim: str) -> dict[str, Any]:
    return {"name": disk, "persistentVolumeClaim": {"claimName": claim}}


def write(path: Path, objects: Sequence[Any]) -> Path:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    return path


def run(
    *arguments: str, uri: str | None = None, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """vm-disks in a process of its own, as people run it."""
    environment = os.environ | ({"LIBVIRT_DEFAULT_URI": uri} if uri else {})
    command = [sys.executable, "-m", "vm_disks", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr}"
    return done
