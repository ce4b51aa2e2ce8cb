"""What has to hold once everything has settled, whatever was killed, cut off or filled up before.

- Each Bound claim has exactly one volume, one export and one Secret on exactly one target.
- Nothing exists that no claim and no PV owns: no volume, no export, no Secret.
- What was written and acknowledged is there.
- No login succeeds without the credentials.
- A volume that no claim owns, the bystander, is there with its data.
"""

from __future__ import annotations

import base64
import subprocess

from lundock_common.kubernetes_api import Json, secrets_path
from target_image.api.client import TargetError
from target_image.api.requests import ExportSpec, Lun, VolumeSpec
from tests.faults.tools.disks import Disk, Written
from tests.provisioner.stage import Stage, TargetProcess
from tests.waiting import eventually

BYSTANDER = "bystander"
"""A volume without an owner, made by hand on a target that a provisioner uses too."""


def bystander(target: TargetProcess) -> tuple[Disk, Written]:
    """Make it and write to it. Verify it at the end."""
    target.client.ensure_volume(BYSTANDER, VolumeSpec(size_bytes=2**20))
    export = target.client.ensure_export(BYSTANDER, ExportSpec(luns=[Lun(lun=1, volume=BYSTANDER)]))
    disk, written = Disk(f"127.0.0.1:{target.iscsi_port}", export.iqn), Written()
    assert written.write(disk, 0, 0xB5)
    return disk, written


def settled(stage: Stage, targets: list[TargetProcess], timeout_s: float = 120) -> None:
    """Wait until nothing is in flight: every claim Bound, and nothing left of those that are gone.

    Fails with what is still wrong.
    """
    wrong: list[str] = []

    def look() -> bool:
        try:
            wrong[:] = faults(stage, targets)
        except TargetError as error:
            wrong[:] = [str(error)]
        return not wrong

    try:
        eventually(look, "everything to settle", timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}: {wrong}; the provisioner's log ends with {stage.process.tail()}") from None


def faults(stage: Stage, targets: list[TargetProcess]) -> list[str]:
    """What is not as it has to be at this moment, in words."""
    claims, pvs = stage.claims(), stage.pvs()
    found = [f"claim {name(claim)} is not Bound" for claim in claims if claim["status"].get("phase") != "Bound"]
    found += [f"claim {name(claim)} is being deleted" for claim in claims if "deletionTimestamp" in claim["metadata"]]
    owned = {claim["spec"]["volumeName"] for claim in claims if claim["spec"].get("volumeName")}
    found += [f"PV {name(pv)} belongs to no claim" for pv in pvs if name(pv) not in owned]
    found += [f"PV {volume} is missing" for volume in owned - {name(pv) for pv in pvs}]
    volumes = [volume.id for target in targets for volume in target.client.list_volumes() if volume.id != BYSTANDER]
    exports = [export.id for target in targets for export in target.client.list_exports() if export.id != BYSTANDER]
    for kind, ids in (("volume", volumes), ("export", exports)):
        found += [f"{kind} {id} is on two targets" for id in set(ids) if ids.count(id) > 1]
        found += [f"{kind} {id} belongs to no claim" for id in set(ids) - owned]
        found += [f"{kind} {id} is missing" for id in owned - set(ids)]
    found += [f"the Secret of {name(pv)} is missing" for pv in pvs if stage.secret(pv) is None]
    secrets = {name(secret) for secret in _chap_secrets(stage)}
    found += [f"Secret {secret} belongs to no claim" for secret in secrets - {f"{volume}-chap" for volume in owned}]
    return found


def _chap_secrets(stage: Stage) -> list[Json]:
    found = stage.kube.list(secrets_path(stage.namespace))[0]
    return [secret for secret in found if secret["type"] == "kubernetes.io/iscsi-chap"]


def name(thing: Json) -> str:
    return str(thing["metadata"]["name"])


def disk_of(stage: Stage, pv: Json) -> Disk:
    """The PV's LUN, with the credentials of its Secret."""
    iscsi, secret = pv["spec"]["iscsi"], stage.secret(pv)
    assert secret is not None, f"{name(pv)} has no Secret"
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    return Disk(
        portal=iscsi["targetPortal"],
        iqn=iscsi["iqn"],
        user=data["node.session.auth.username"],
        password=data["node.session.auth.password"],
    )


def data_is_there(stage: Stage, written: dict[str, Written]) -> None:
    """Every claim that was written to still has what was acknowledged."""
    for claim in stage.claims():
        if name(claim) in written:
            written[name(claim)].verify(disk_of(stage, stage.bound(name(claim))))


def strangers_stay_out(stage: Stage) -> None:
    """No volume lets anyone in without credentials, or with those of another."""
    pvs = stage.pvs()
    for pv, other in zip(pvs, [*pvs[1:], *pvs[:1]], strict=True):
        disk = disk_of(stage, pv)
        url = f"iscsi://{disk.portal}/{disk.iqn}/1"
        assert _login(url) != 0, f"{name(pv)} lets in who has no password"
        wrong = disk_of(stage, other) if other is not pv else None
        if wrong is not None:
            url = f"iscsi://{wrong.user}%{wrong.password}@{disk.portal}/{disk.iqn}/1"
            assert _login(url) != 0, f"{name(pv)} lets in who has the password of {name(other)}"


def _login(url: str) -> int:
    return subprocess.run(["iscsi-readcapacity16", url], capture_output=True, timeout=60, check=False).returncode
