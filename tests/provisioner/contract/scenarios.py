"""What a target's agent is asked for, call by call, and how each call ends: on the real agent and on its twin."""

from __future__ import annotations

from typing import Any

from target_image.api import requests
from tests.provisioner.agent_twin import MIB, TargetCalls
from tests.provisioner.contract.outcomes import Call, Outcome, Refusal, SeenExport, SeenVolume

OWNER = requests.Owner(cluster="cluster", release="ns/lundock", namespace="ns", claim="a", claim_uid="uid-a")
OTHER_OWNER = OWNER.model_copy(update={"claim_uid": "uid-b"})
NODE = "iqn.2026-11.test:initiator"
IMAGE = requests.ImageSpec(urls=["http://127.0.0.1:9/a.img"], digest="sha256:" + "0" * 64)

Step = tuple[Call, Outcome]

CONFLICT = Refusal("identity-conflict", 409)
NOT_FOUND = Refusal("not-found", 404)
INVALID = Refusal("invalid", 422)
UNKNOWN_IMAGE = Refusal("unknown-image", 422)
IF_MATCH = Refusal("precondition-required", 428)
NOT_READY = Refusal("not-ready", 409, retryable=True)
STILL_EXPORTED = Refusal("volume-exported", 409, retryable=True)
IN_USE = Refusal("in-use", 409, retryable=True)
NAME_TAKEN = Refusal("name-taken", 409)
NO_SPACE = Refusal("no-space", 507, retryable=True)


def make(id: str = "a", /, size_bytes: int = 16 * MIB, source: requests.Source | None = None, **more: Any) -> Call:
    spec = {"size_bytes": size_bytes, "source": source or requests.EmptySource(), "owner": OWNER, **more}
    return lambda calls: calls.ensure_volume(id, requests.VolumeSpec.model_validate(spec))


def clone(id: str, origin: str, size_bytes: int = 16 * MIB, *, allow_in_use: bool = False) -> Call:
    return make(id, size_bytes, requests.VolumeSource(volume=origin, allow_in_use=allow_in_use))


def password_of(export: str) -> str:
    return f"password-of-{export}"


def export_spec(id: str = "a", /, **changes: Any) -> requests.ExportSpec:
    chap = {"username": id, "password": password_of(id)}
    spec = {"luns": [{"lun": 1, "volume": id}], "chap": chap, "owner": OWNER, **changes}
    return requests.ExportSpec.model_validate(spec)


def export(id: str = "a", /, **changes: Any) -> Call:
    return lambda calls: calls.ensure_export(id, export_spec(id, **changes))


def change(id: str = "a", /, **changes: Any) -> Call:
    return lambda calls: calls.change_export(id, export_spec(id, **changes))


def exported(id: str = "a", /, **changes: Any) -> SeenExport:
    seen = {"iqn": f"iqn.2026-11.io.lundock:{id}", "luns": ((1, id, False),), "user": id}
    return SeenExport(id, **{**seen, **changes})


def grow(id: str, size_bytes: int) -> Call:
    return lambda calls: calls.grow_volume(id, size_bytes)


def get(id: str = "a") -> Call:
    return lambda calls: calls.get_volume(id)


def get_export(id: str = "a") -> Call:
    return lambda calls: calls.get_export(id)


def trash(id: str = "a") -> Call:
    return lambda calls: calls.trash_volume(id)


def restore(id: str = "a") -> Call:
    return lambda calls: calls.restore_volume(id)


def delete(id: str = "a") -> Call:
    return lambda calls: calls.delete_volume(id)


def delete_export(id: str = "a") -> Call:
    return lambda calls: calls.delete_export(id)


def put_image(name: str, spec: requests.ImageSpec = IMAGE) -> Call:
    return lambda calls: calls.put_image(name, spec)


def list_volumes(calls: TargetCalls) -> object:
    return calls.list_volumes()


VOLUME = SeenVolume("a")
IN_TRASH = SeenVolume("a", trashed=True, condition="trashed")
CHAP = {"username": "a", "password": "another-password"}
OTHER_USER = {"username": "a-2", "password": "another-password"}
LUN = {"lun": 1, "volume": "a"}
ACCESS = {"access": {"initiators": [f"{NODE}-b", NODE, NODE]}}
SORTED = {"initiators": (NODE, f"{NODE}-b")}
MADE = (make(), VOLUME)
MADE_B = (make("b"), SeenVolume("b"))
EXPORTED = (export(), exported())
CLONED = (clone("b", "a"), SeenVolume("b", source=("volume", "a")))

SCENARIOS: dict[str, list[Step]] = {
    "create": [MADE, (get(), VOLUME)],
    "create rounds up to 1 MiB": [(make(size_bytes=1), SeenVolume("a", MIB))],
    "create without an owner": [(make(owner=None), SeenVolume("a", claim_uid=None))],
    "repeat": [MADE, MADE],
    "repeat smaller": [MADE, (make(size_bytes=MIB), VOLUME)],
    "repeat larger": [MADE, (make(size_bytes=17 * MIB), IF_MATCH), (get(), VOLUME)],
    "another source": [MADE, MADE_B, (clone("a", "b"), CONFLICT)],
    "another owner": [MADE, (make(owner=OTHER_OWNER), CONFLICT), (make(owner=None), CONFLICT)],
    "another provisioning": [MADE, (make(thin=False), CONFLICT)],
    "too large": [(make(size_bytes=2**60), NO_SPACE), (get(), None)],
    "unknown image": [(make(source=requests.ImageSource(image="nope")), UNKNOWN_IMAGE), (get(), None)],
    "list": [(list_volumes, ()), MADE_B, MADE, (list_volumes, ("a", "b"))],
    "grow": [MADE, (grow("a", 20 * MIB + 1), SeenVolume("a", 21 * MIB)), (get(), SeenVolume("a", 21 * MIB))],
    "grow to less": [MADE, (grow("a", MIB), VOLUME)],
    "grow too far": [MADE, (grow("a", 2**60), NO_SPACE), (get(), VOLUME)],
    "grow what is missing": [(grow("a", MIB), NOT_FOUND)],
    "grow while trashed": [MADE, (trash(), IN_TRASH), (grow("a", 17 * MIB), NOT_READY)],
    "delete": [MADE, (delete(), None), (get(), None), (delete(), None)],
    "delete while exported": [
        *(MADE, EXPORTED, (delete(), STILL_EXPORTED), (delete_export(), None)),
        *((delete(), None), (get(), None)),
    ],
    "delete while another id exports it": [
        *(MADE, MADE_B, (export("b", luns=[LUN]), exported("b", luns=((1, "a", False),)))),
        *((delete("a"), STILL_EXPORTED), (trash("a"), STILL_EXPORTED), (delete("b"), None)),
    ],
    "trash and restore": [MADE, (trash(), IN_TRASH), (trash(), IN_TRASH), (restore(), VOLUME), (restore(), VOLUME)],
    "trash while exported": [MADE, EXPORTED, (trash(), STILL_EXPORTED)],
    "restore while exported": [MADE, EXPORTED, (restore(), SeenVolume("a", exports=("a",)))],
    "trash what is missing": [(trash(), NOT_FOUND), (restore(), NOT_FOUND)],
    "ensure while trashed": [MADE, (trash(), IN_TRASH), (make(), NOT_READY), (make(owner=None), NOT_READY)],
    "delete while trashed": [MADE, (trash(), IN_TRASH), (delete(), None), (get(), None)],
    "export": [MADE, EXPORTED, (get_export(), exported()), (get(), SeenVolume("a", exports=("a",)))],
    "export without CHAP": [MADE, (export(chap=None), exported(user=None))],
    "export with an IQN": [MADE, (export(iqn="iqn.2026-11.test:x"), exported(iqn="iqn.2026-11.test:x"))],
    "export again": [MADE, EXPORTED, EXPORTED],
    "export again in other words": [
        *(MADE, (export(**ACCESS), exported(**SORTED))),
        (export(access={"initiators": [NODE, f"{NODE}-b"]}), exported(**SORTED)),
    ],
    "export of one address": [
        (make(), VOLUME),
        (export(access={"networks": ["192.0.2.1/32"]}), exported(networks=("192.0.2.1",))),
        (export(access={"networks": ["192.0.2.1"]}), exported(networks=("192.0.2.1",))),
    ],
    "export with other access": [MADE, EXPORTED, (export(**ACCESS), IF_MATCH), (get_export(), exported())],
    "export with another password": [MADE, EXPORTED, (export(chap=CHAP), IF_MATCH)],
    "export with other LUNs": [MADE, EXPORTED, (export(luns=[{"lun": 2, "volume": "a"}]), IF_MATCH)],
    "export with another owner": [MADE, EXPORTED, (export(owner=OTHER_OWNER), CONFLICT)],
    "export with another IQN": [MADE, EXPORTED, (export(iqn="iqn.2026-11.test:x"), CONFLICT)],
    "export with an IQN that is taken": [
        *(MADE, EXPORTED, MADE_B),
        *((export("b", iqn="iqn.2026-11.io.lundock:a"), NAME_TAKEN), (get_export("b"), None)),
    ],
    "export with a CHAP name that is taken": [
        *(MADE, EXPORTED, MADE_B),
        *((export("b", chap=CHAP), NAME_TAKEN), (get_export("b"), None)),
    ],
    "export of a missing volume": [(export(), INVALID), (get_export(), None)],
    "export while trashed": [MADE, (trash(), IN_TRASH), (export(), NOT_READY), (get_export(), None)],
    "change access": [MADE, EXPORTED, (change(**ACCESS), exported(**SORTED)), (get_export(), exported(**SORTED))],
    "change CHAP": [
        *(MADE, EXPORTED, (change(chap=OTHER_USER), exported(user="a-2"))),
        (export(chap=OTHER_USER), exported(user="a-2")),
    ],
    "change nothing": [MADE, EXPORTED, (change(), exported())],
    "change the owner": [MADE, EXPORTED, (change(owner=OTHER_OWNER), CONFLICT)],
    "change to a missing volume": [MADE, EXPORTED, (change(luns=[{"lun": 1, "volume": "b"}]), INVALID)],
    "change what is missing": [MADE, (change(), NOT_FOUND)],
    "delete an export": [
        *(MADE, EXPORTED, (delete_export(), None), (get_export(), None)),
        *((delete_export(), None), (get(), VOLUME), EXPORTED),
    ],
    "clone": [MADE, CLONED, CLONED],
    "clone in another mode": [
        *(MADE, CLONED),
        (clone("b", "a", allow_in_use=True), SeenVolume("b", source=("volume", "a"))),
    ],
    "clone of a larger volume": [MADE, (clone("b", "a", MIB), SeenVolume("b", source=("volume", "a")))],
    "clone into a larger volume": [MADE, (clone("b", "a", 20 * MIB), SeenVolume("b", 20 * MIB, ("volume", "a")))],
    "clone whose source went": [MADE, CLONED, (delete("a"), None), CLONED],
    "clone of what is missing": [(clone("b", "a"), INVALID), (get("b"), None)],
    "clone of itself": [(clone("a", "a"), INVALID)],
    "clone of what is trashed": [MADE, (trash(), IN_TRASH), (clone("b", "a"), NOT_READY), (get("b"), None)],
    "get what is missing": [(get(), None), (get_export(), None)],
    "image": [(put_image("x"), ("image", "x")), (put_image("x"), ("image", "x"))],
    "another image of the name": [
        (put_image("y"), ("image", "y")),
        (put_image("y", IMAGE.model_copy(update={"digest": "sha256:" + "1" * 64})), CONFLICT),
    ],
    "the demo disk is no image to put": [(put_image("demo"), CONFLICT)],
}  # fmt: skip

IN_USE_SCENARIOS: dict[str, list[Step]] = {
    "get": [(get_export(), exported(sessions=1))],
    "export again": [(export(), exported(sessions=1))],
    "grow": [(grow("a", 17 * MIB), IN_USE), (grow("a", MIB), SeenVolume("a", exports=("a",)))],
    "change CHAP": [(export(chap=CHAP), IF_MATCH), (change(chap=CHAP), IN_USE)],
    "change LUNs": [(change(luns=[{"lun": 2, "volume": "a"}]), IN_USE)],
    "change access": [(change(**ACCESS), exported(**SORTED, sessions=1))],
    "delete": [(delete_export(), IN_USE), (delete(), STILL_EXPORTED), (trash(), STILL_EXPORTED)],
    "clone": [(clone("b", "a"), IN_USE), (get("b"), None)],
}
