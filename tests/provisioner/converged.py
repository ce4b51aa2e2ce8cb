"""What must hold when nobody disturbs any more: what must exist does, and nothing else of ours does."""

from __future__ import annotations

import base64
from collections.abc import Collection

from lundock_common import quantity
from provisioner.planning.claims import TARGET, name_of
from provisioner.planning.plan import is_ours
from provisioner.planning.volumes import LUN, VOLUME
from tests.provisioner.twins import Json
from tests.provisioner.world import World


def check_converged(world: World, not_ours: Collection[str] = ()) -> None:
    """Fails with what is missing or left over; `not_ours` are volumes of others, which must still be there."""
    pvs = [pv for pv in world.api.under("persistentvolumes") if is_ours(pv, world.identity)]
    for pv in pvs:
        if pv["status"]["phase"] == "Bound":
            _check_served(world, pv)
    _check_claims(world, {pv["metadata"]["name"]: pv for pv in pvs})
    _check_nothing_is_left(world, pvs, not_ours)


def _check_served(world: World, pv: Json) -> None:
    """The volume, its export and its Secret, each where the PV says."""
    target, volume_id = _home(pv)
    what = f"PV {pv['metadata']['name']}, volume {volume_id} on target {target}"
    agent = world.agents[target]
    volume, export = agent.get_volume(volume_id), agent.get_export(volume_id)
    assert volume is not None, f"{what}: there is no volume"
    assert volume.trashed_at is None, f"{what}: the volume is in the trash"
    capacity_bytes = quantity.parse(pv["spec"]["capacity"]["storage"])
    assert volume.size_bytes >= capacity_bytes, f"{what}: the volume has {volume.size_bytes} of {capacity_bytes} bytes"
    assert export is not None, f"{what}: there is no export"
    assert export.iqn == pv["spec"]["iscsi"]["iqn"], f"{what}: the export's IQN is {export.iqn}"
    luns = {lun.lun: lun.volume for lun in export.luns}
    assert luns == {LUN: volume_id}, f"{what}: the export's LUNs are {luns}"
    user = export.chap.username if export.chap else None
    reference = pv["spec"]["iscsi"].get("secretRef")
    if reference is None:
        assert user is None, f"{what}: the export asks for CHAP, and the PV names no Secret"
        return
    assert user == volume_id, f"{what}: the export's CHAP user is {user}"
    secret = world.api.objects.get(f"/api/v1/namespaces/{reference['namespace']}/secrets/{reference['name']}")
    assert secret is not None, f"{what}: there is no Secret {reference}"
    chap = agent.exports[volume_id][1].chap
    assert chap is not None
    opens = {
        key: base64.b64decode(secret["data"][f"node.session.auth.{key}"]).decode() for key in ("username", "password")
    }
    expected = {"username": chap.username, "password": chap.password.get_secret_value()}
    assert opens == expected, f"{what}: the Secret does not open the export"


def _check_claims(world: World, pvs: dict[str, Json]) -> None:
    """Each claim has a PV of ours, as large as it asks for."""
    for claim in world.api.under("persistentvolumeclaims"):
        pv = pvs.get(claim["spec"].get("volumeName", ""))
        assert pv is not None, f"{name_of(claim)} got no volume"
        wanted, capacity = claim["spec"]["resources"]["requests"]["storage"], pv["spec"]["capacity"]["storage"]
        # A retained volume that was bound again may be larger than its new claim asks for.
        large_enough = quantity.parse(capacity) >= quantity.parse(wanted)
        assert large_enough, f"{name_of(claim)} asks for {wanted} and got {capacity}"


def _check_nothing_is_left(world: World, pvs: list[Json], not_ours: Collection[str]) -> None:
    """No volume, export or Secret that no PV names; a PV's volume is on its own target only."""
    homes = {_home(pv) for pv in pvs}
    volumes = {(target, id) for target, agent in world.agents.items() for id in agent.volumes}
    theirs = {(target, id) for target, id in volumes if id in not_ours}
    assert {id for _, id in theirs} == set(not_ours), f"of {sorted(not_ours)} only {sorted(theirs)} are there"
    assert volumes - theirs == homes, f"volumes {sorted(volumes - theirs)}, of PVs {sorted(homes)}"
    exports = {(target, id) for target, agent in world.agents.items() for id in agent.exports}
    assert exports <= homes, f"exports {sorted(exports)}, of PVs {sorted(homes)}"
    secrets = {secret["metadata"]["name"] for secret in world.api.under("secrets")}
    named = {f"{id}-chap" for _, id in homes}
    assert secrets <= named, f"secrets {sorted(secrets)}, of PVs {sorted(named)}"


def _home(pv: Json) -> tuple[str, str]:
    """The target and the volume's id."""
    notes = pv["metadata"]["annotations"]
    return notes[TARGET], notes[VOLUME]
