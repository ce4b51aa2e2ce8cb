from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import Permanent
from provisioner.planning import claims
from provisioner.planning.claims import CatalogueImage, Clone, Empty, UrlImage

DIGEST = "sha256:" + "0" * 64


def claim(notes: dict[str, str] | None = None, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "disk", "namespace": "ns", "uid": "u-1", "annotations": notes or {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def storage_class(parameters: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "fast"}, "provisioner": "x", "parameters": parameters or {}, **fields}


def refused(code: str, claim: dict[str, Any], storage_class: dict[str, Any]) -> str:
    with pytest.raises(Permanent) as caught:
        claims.read_claim(claim, storage_class)
    assert caught.value.code == code
    return caught.value.detail


def test_a_plain_claim() -> None:
    request = claims.read_claim(claim(), storage_class(reclaimPolicy="Retain", mountOptions=["noatime"]))
    assert request.volume_id == "pvc-u-1"
    assert request.size_bytes == 2**30
    assert (request.volume_mode, request.access_modes) == ("Filesystem", ("ReadWriteOnce",))
    assert request.storage_class.reclaim_policy == "Retain"
    assert request.storage_class.mount_options == ("noatime",)
    assert request.source == Empty()
    assert not request.read_only


@pytest.mark.parametrize(
    ("notes", "parameters", "source"),
    [
        ({}, {"image": "alpine"}, CatalogueImage("alpine")),
        ({"lundock.io/image": "cirros"}, {}, CatalogueImage("cirros")),
        ({"lundock.io/image": "cirros"}, {"image": "alpine"}, CatalogueImage("cirros")),
        (
            {"lundock.io/image": f"https://h/x.qcow2#{DIGEST}"},
            {"imageUrls": "allow"},
            UrlImage("https://h/x.qcow2", DIGEST),
        ),
    ],
)
def test_images(notes: dict[str, str], parameters: dict[str, str], source: claims.Source) -> None:
    assert claims.read_claim(claim(notes), storage_class(parameters)).source == source


@pytest.mark.parametrize("field", ["dataSource", "dataSourceRef"])
@pytest.mark.parametrize("in_use", [True, False])
def test_a_clone(field: str, in_use: bool) -> None:
    source: dict[str, Any] = {field: {"kind": "PersistentVolumeClaim", "name": "golden"}}
    wanted = claim(None, **source)
    request = claims.read_claim(wanted, storage_class({"cloneInUse": "true"} if in_use else {}))
    assert request.source == Clone("golden", in_use)


@pytest.mark.parametrize(
    ("code", "wanted", "parameters", "says"),
    [
        ("BadSize", claim(size="0"), {}, "more than 0"),
        ("BadSize", claim(size="2Ei"), {}, "at most 1Ei"),
        ("BadSize", claim(size="big"), {}, "such as 512Mi"),
        ("BadAccessMode", claim(accessModes=["ReadWriteMany"]), {}, "volumeMode: Block"),
        ("BadAccessMode", claim(accessModes=["ReadOnlyMany"]), {}, "lundock.io/image"),
        ("BadAccessMode", claim(accessModes=["Sometimes"]), {}, "ReadWriteOncePod"),
        ("BadAccessMode", claim(accessModes=[]), {}, "ReadWriteOncePod"),
        ("BadVolumeAttributesClass", claim(volumeAttributesClassName="fast"), {}, "remove it"),
        ("BadImage", claim({"lundock.io/image": "My Image"}), {}, "neither"),
        ("BadImage", claim({"lundock.io/image": "https://h/x"}), {"imageUrls": "allow"}, "#sha256"),
        ("BadImage", claim({"lundock.io/image": "ftp://h/x#" + DIGEST}), {"imageUrls": "allow"}, "must be URL"),
        ("ImageUrlNotAllowed", claim({"lundock.io/image": f"https://h/x#{DIGEST}"}), {}, "imageUrls: allow"),
        (
            "TwoSources",
            claim({"lundock.io/image": "alpine"}, dataSource={"kind": "PersistentVolumeClaim", "name": "x"}),
            {},
            "leave one",
        ),
        (
            "BadDataSource",
            claim(dataSource={"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "x"}),
            {},
            "is not supported",
        ),
        (
            "BadDataSource",
            claim(dataSourceRef={"kind": "PersistentVolumeClaim", "name": "x", "namespace": "other"}),
            {},
            "only claims of ns",
        ),
    ],
)
def test_what_cannot_be_had(code: str, wanted: dict[str, Any], parameters: dict[str, str], says: str) -> None:
    assert says in refused(code, wanted, storage_class(parameters))


def test_topologies_are_refused() -> None:
    assert "without it" in refused("TopologyNotSupported", claim(), storage_class(allowedTopologies=[{}]))


@pytest.mark.parametrize(
    ("modes", "block", "read_only"),
    [
        (["ReadWriteOnce", "ReadOnlyMany"], False, False),
        (["ReadWriteMany"], True, False),
        (["ReadWriteOncePod"], False, False),
        (["ReadOnlyMany"], False, True),
    ],
)
def test_access_modes(modes: list[str], block: bool, read_only: bool) -> None:
    wanted = claim({"lundock.io/image": "alpine"}, accessModes=modes, volumeMode="Block" if block else "Filesystem")
    request = claims.read_claim(wanted, storage_class())
    assert (request.access_modes, request.read_only) == (tuple(modes), read_only)


def test_a_selector_becomes_labels() -> None:
    selector = {
        "matchLabels": {"os": "alpine"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "tier", "operator": "NotIn", "values": ["a"]},
            {"key": "seen", "operator": "Exists"},
            {"key": "gone", "operator": "DoesNotExist"},
        ],
    }
    request = claims.read_claim(claim(selector=selector), storage_class())
    assert request.labels == {"os": "alpine", "tier": "b", "seen": ""}


TERMS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b"]),
        "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        "values": st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=2, unique=True),
    }
)


def satisfies(labels: dict[str, str], selector: dict[str, Any]) -> bool:
    """apimachinery's rule: every term must hold."""

    def holds(term: dict[str, Any]) -> bool:
        value = labels.get(term["key"])
        match term["operator"]:
            case "In":
                return value in term["values"]
            case "NotIn":
                return value not in term["values"]
            case "Exists":
                return value is not None
        return value is None

    return all(labels.get(k) == v for k, v in selector["matchLabels"].items()) and all(
        map(holds, selector["matchExpressions"])
    )


@given(
    st.fixed_dictionaries(
        {
            "matchLabels": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])),
            "matchExpressions": st.lists(TERMS, max_size=4),
        }
    )
)
def test_labels_satisfy_the_selector_or_nothing_does(selector: dict[str, Any]) -> None:
    values = [None, "x", "y", "z", "", "any"]
    every = [{k: v for k, v in (("a", a), ("b", b)) if v is not None} for a in values for b in values]
    try:
        labels = claims.read_claim(claim(selector=selector), storage_class()).labels
    except Permanent:
        assert not any(satisfies(labels, selector) for labels in every)
    else:
        assert satisfies(dict(labels), selector)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"kind": "Blob", "apiGroup": "example.com", "name": "x"}, "Blob.example.com"),
        ({"kind": "PersistentVolumeClaim", "name": "x"}, ""),
        ({"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "x"}, ""),
    ],
)
def test_what_belongs_to_a_populator(source: dict[str, str], kind: str) -> None:
    assert claims.foreign_source(claim(dataSourceRef=source)) == kind


def test_ga_annotation_wins_over_beta() -> None:
    ga, beta = claims.PROVISIONER_KEYS
    assert claims.provisioner_of(claim({ga: "new", beta: "old"})) == "new"
    assert claims.provisioner_of(claim({beta: "old"})) == "old"
    assert claims.provisioner_of(claim()) == ""
