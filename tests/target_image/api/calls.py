"""Every call of a client, on a real agent: `python calls.py URL`.

It imports nothing of the tests, since it also runs with the client of an earlier version.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from lundock_common.quantity import MIB

PASSWORDS = ("twelve-or-more", "another-twelve")
OWNER = {"cluster": "uid", "release": "ns/name", "namespace": "ns", "claim": "disk", "claim_uid": "claim-uid"}


def modules() -> tuple[Any, Any, Any]:
    """The client and the requests of the version that runs, wherever it keeps them, and its phases."""
    try:
        api = "target_image.api"
        return import_module(f"{api}.client"), import_module(f"{api}.requests"), import_module(f"{api}.fields")
    except ModuleNotFoundError:
        wire = import_module("target_image.agent.wire")
        return import_module("target_image.client"), wire, wire


def call_everything(url: str) -> None:
    """Call the agent at this URL in every way that a client can.

    Raises:
        AssertionError: an answer is not what it has to be.
        TargetError: the client's own, where the two do not understand each other.
    """
    client_module, requests, fields = modules()
    with client_module.TargetClient(url, timeout_s=30) as client:
        _volumes(client, client_module, requests, fields)
        _exports(client, client_module, requests, fields)
        _images(client, client_module, requests)
        assert client.capabilities().api_version == "v1"
        assert client.capacity().available_bytes > 0
        for id in ("copy", "disk"):
            client.delete_volume(id)
        assert client.list_volumes() == []


def _volumes(client: Any, client_module: Any, requests: Any, fields: Any) -> None:
    spec = requests.VolumeSpec(size_bytes=8 * MIB, owner=requests.Owner(**OWNER))
    for _ in range(2):
        made = client.ensure_volume("disk", spec)
    assert (made.phase, made.size_bytes, made.source.type) == (fields.Phase.READY, 8 * MIB, "none")
    assert made.owner.claim_uid == "claim-uid"
    assert client.grow_volume("disk", 16 * MIB).size_bytes == 16 * MIB
    source = requests.VolumeSource(volume="disk", allow_in_use=True)
    client.ensure_volume("copy", requests.VolumeSpec(size_bytes=MIB, source=source))
    deadline = time.monotonic() + 30
    while client.get_volume("copy").phase is not fields.Phase.READY:
        assert time.monotonic() < deadline, "the copy is not ready"
    assert client.get_volume("copy").source.volume == "disk"
    assert client.trash_volume("copy").trashed_at is not None
    assert client.restore_volume("copy").trashed_at is None
    assert client.get_volume("absent") is None
    _refused(
        client_module,
        "identity-conflict",
        lambda: client.ensure_volume("disk", spec.model_copy(update={"thin": False})),
    )
    assert {volume.id for volume in client.list_volumes()} == {"disk", "copy"}


def _exports(client: Any, client_module: Any, requests: Any, fields: Any) -> None:
    def spec(password: str) -> Any:
        return requests.ExportSpec(
            luns=[requests.Lun(lun=1, volume="disk"), requests.Lun(lun=2, volume="copy", read_only=True)],
            access=requests.Access(initiators=["iqn.2026-11.test:node"]),
            chap=requests.Chap(username="disk", password=password),
            owner=requests.Owner(**OWNER),
        )

    for _ in range(2):
        made = client.ensure_export("disk", spec(PASSWORDS[0]))
    assert (made.phase, made.chap.username, made.sessions) == (fields.Phase.READY, "disk", 0)
    assert [(lun.lun, lun.volume, lun.read_only) for lun in made.luns] == [(1, "disk", False), (2, "copy", True)]
    _refused(client_module, "precondition-required", lambda: client.ensure_export("disk", spec(PASSWORDS[1])))
    assert client.change_export("disk", spec(PASSWORDS[1])).id == "disk"
    assert [export.id for export in client.list_exports()] == ["disk"]
    assert client.get_export("absent") is None
    assert client.sessions() == []
    client.end_session("disk", 1)
    _refused(client_module, "volume-exported", lambda: client.delete_volume("disk"))
    client.delete_export("disk")


def _images(client: Any, client_module: Any, requests: Any) -> None:
    assert "alpine" in {image.name for image in client.list_images()}
    assert client.get_image("absent") is None
    spec = requests.ImageSpec(urls=["http://192.0.2.1/a.img"], digest=f"sha256:{'0' * 64}")
    _refused(client_module, "invalid", lambda: client.put_image("mine", spec))
    client.delete_image("mine")


def _refused(client_module: Any, code: str, call: Callable[[], object]) -> None:
    found = "no problem"
    try:
        call()
    except client_module.ApiProblem as problem:
        found = problem.code
    assert found == code, f"answered with {found}, not with {code}"


if __name__ == "__main__":
    call_everything(sys.argv[1])
