from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.planning import claims, volumes
from provisioner.planning.claims import ClaimName
from provisioner.planning.volumes import Identity, SecretName
from provisioner.settings import TargetSettings
from target_image.api import fields, responses

IDENTITY = Identity("iscsi.lundock.io", "ns/lundock", "cluster", "iqn.2026-11.io.lundock")
KEY = b"k" * 32


def target(host: str = "t0.svc", **more: Any) -> TargetSettings:
    return TargetSettings(name="t0", url="http://t0:8081", portal_host=host, **more)


def export(port: int = 3260, shard: int = 0) -> responses.Export:
    return responses.Export(
        id="pvc-u",
        iqn="iqn.2026-11.io.lundock:pvc-u",
        luns=[],
        access=responses.Access(),
        chap=None,
        owner=None,
        shard=shard,
        portals=[f"[::]:{port}"],
        phase=fields.Phase.READY,
    )


def request(parameters: dict[str, str] | None = None, **spec: Any) -> claims.ClaimRequest:
    claim = {
        "metadata": {"name": "disk", "namespace": "ns", "uid": "u"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }
    return claims.read_claim(claim, {"metadata": {"name": "fast"}, "parameters": parameters or {}})


@pytest.mark.parametrize(
    ("settings", "override", "shard", "portal"),
    [
        (target(), "", 0, "t0.svc:3260"),
        (target("fd00::1"), "", 0, "[fd00::1]:3260"),
        (target(portal_ports=[13260, 13261]), "", 1, "t0.svc:13261"),
        (target(portal_ports=[13260]), "", 1, "t0.svc:3260"),
        (target(), "iscsi.example.com", 0, "iscsi.example.com:3260"),
        (target(), "iscsi.example.com:860", 0, "iscsi.example.com:860"),
        (target(), "[fd00::2]", 0, "[fd00::2]:3260"),
        (target(), "[fd00::2]:860", 0, "[fd00::2]:860"),
    ],
)
def test_portals(settings: TargetSettings, override: str, shard: int, portal: str) -> None:
    assert volumes.portal(settings, override, export(shard=shard)) == portal


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_a_password_is_derived_and_tgt_and_libvirt_take_it(volume: str, generation: str) -> None:
    chap = volumes.chap(KEY, "pvc-u", generation, mutual=True)
    again = volumes.chap(KEY, "pvc-u", generation, mutual=True)
    other = volumes.chap(KEY, "pvc-u", generation + "x", mutual=True)
    assert chap == again
    assert chap.password != other.password
    assert chap.password != volumes.chap(b"j" * 32, "pvc-u", generation, mutual=True).password
    assert chap.mutual_password is not None
    assert chap.mutual_password != chap.password, "RFC 7143 section 12.1.4"
    assert chap.mutual_username != chap.username, "tgt's accounts are global"
    text = chap.password.get_secret_value()
    assert len(text) == 32
    assert text.isascii()
    assert text not in repr(chap)


def test_the_secret() -> None:
    chap = volumes.chap(KEY, "pvc-u", "1", mutual=True)
    claim = ClaimName("ns", "disk", "u")
    secret = volumes.secret(SecretName("ns", "pvc-u-chap"), "pvc-u", chap, IDENTITY, claim)
    assert set(secret["data"]) == {
        f"node.session.auth.{key}" for key in ("username", "password", "username_in", "password_in")
    }
    assert base64.b64decode(secret["data"]["node.session.auth.username"]) == b"pvc-u"
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("PersistentVolumeClaim", "u")
    elsewhere = volumes.secret(SecretName("secrets", "pvc-u-chap"), "pvc-u", chap, IDENTITY, claim)
    assert "ownerReferences" not in elsewhere["metadata"], "an owner must be of the same namespace"


def test_no_plain_text_in_a_pv() -> None:
    chap = volumes.chap(KEY, "pvc-u", "u", mutual=True)
    pv = volumes.persistent_volume(
        request({"chap": "mutual"}), IDENTITY, target(), export(), 2**30, SecretName("ns", "pvc-u-chap")
    )
    assert chap.password.get_secret_value() not in str(pv)
    assert pv["metadata"]["annotations"]["lundock.io/chap-mutual"] == "true"


def test_a_read_only_volume() -> None:
    wanted = request({"image": "demo"}, accessModes=["ReadOnlyMany"])
    assert volumes.export_spec(wanted, IDENTITY, None).luns[0].read_only
    assert volumes.persistent_volume(wanted, IDENTITY, target(), export(), 2**30, None)["spec"]["iscsi"]["readOnly"]


def test_the_pv_is_the_same_whenever_it_is_made() -> None:
    made = [
        volumes.persistent_volume(request(), IDENTITY, target(), export(), 2**30, SecretName("ns", "s"))
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0]["metadata"]["name"] == "pvc-u"
    assert made[0]["spec"]["claimRef"]["uid"] == "u"
