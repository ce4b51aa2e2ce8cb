"""Manifests that were never applied are bound as the cluster would bind them."""

from __future__ import annotations

from typing import Any

from vm_disks.resolution.binding import bind


def claim(**spec: Any) -> dict[str, Any]:
    return {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}}


def volume(size: str = "1Gi", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, **spec},
    }


def bound(one: dict[str, Any], **volumes: dict[str, Any]) -> str | None:
    (found,) = bind({("ns", "c"): one}, volumes).values()
    return found["spec"].get("volumeName") if (found.get("status") or {}).get("phase") == "Bound" else None


def test_the_smallest_volume_that_fits_is_taken() -> None:
    assert bound(claim(), a=volume("10Gi"), b=volume("2Gi"), c=volume("512Mi"), d=volume("2Gi")) == "b"


def test_class_modes_volume_mode_and_selector_must_match() -> None:
    assert bound(claim(storageClassName="x"), a=volume(), b=volume(storageClassName="x")) == "b"
    assert bound(claim(accessModes=["ReadWriteMany"]), a=volume()) is None
    assert bound(claim(volumeMode="Block"), a=volume(), b=volume(volumeMode="Block")) == "b"
    assert (
        bound(claim(selector={"matchLabels": {"l": "2"}}), a=volume(labels={"l": "1"}), b=volume(labels={"l": "2"}))
        == "b"
    )
    expression = {"key": "l", "operator": "In", "values": ["2", "3"]}
    selected = claim(selector={"matchExpressions": [expression]})
    assert bound(selected, a=volume(), b=volume(labels={"l": "3"})) == "b"


def test_a_volume_reserved_for_the_claim_comes_first_and_for_another_never() -> None:
    reserved = {"claimRef": {"namespace": "ns", "name": "c"}}
    assert bound(claim(), a=volume(), b=volume("5Gi", **reserved)) == "b"
    assert bound(claim(), a=volume(claimRef={"namespace": "ns", "name": "other"})) is None


def test_a_claim_that_names_its_volume_gets_that_one_and_nobody_else_does() -> None:
    claims = {("ns", "first"): claim(), ("ns", "second"): claim(volumeName="a")}
    found = bind(claims, {"a": volume(), "b": volume()})
    assert [one["spec"]["volumeName"] for one in found.values()] == ["b", "a"]


def test_the_word_of_a_cluster_is_not_doubted() -> None:
    pending = {**claim(), "status": {"phase": "Pending"}}
    assert bound(pending, a=volume()) is None
