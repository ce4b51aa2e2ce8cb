"""Any claim of any class, as an API server lets them through: it becomes a request, or is refused with words."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from provisioner.errors import Permanent
from provisioner.planning import plan, volumes
from provisioner.planning.claims import PROVISIONER_KEYS, ClaimName
from provisioner.planning.parameters import KNOWN
from target_image.api import requests

IDENTITY = volumes.Identity("iscsi.lundock.io", "ns/lundock", "cluster", "iqn.2026-11.io.lundock")
NAME = ClaimName("ns", "disk", "u-1")
NOTES = ("lundock.io/image", "lundock.io/rotate-chap", "lundock.io/target", "volume.kubernetes.io/selected-node")

odd_text = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "on", "off", "mutual", "true", "xfs", "[::1]:3260", "host:99999", "10.0.0.0/8", "a=b,c", "../../etc"]
    ),
    st.builds("https://{}#sha256:{}".format, st.text(max_size=20), st.text("0123456789abcdef", max_size=64)),
    st.builds("iqn.2026-11.{}".format, st.text(max_size=250)),
)
quantities = st.from_regex(r"\A[+-]?([0-9]{1,20}|[0-9]{0,3}\.[0-9]{1,3})([mkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?\Z")
labels = st.dictionaries(odd_text, odd_text, max_size=3)
terms = st.fixed_dictionaries(
    {"key": odd_text, "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"])},
    optional={"values": st.lists(odd_text, max_size=3)},
)
references = st.fixed_dictionaries(
    {"kind": st.sampled_from(["PersistentVolumeClaim", "VolumeSnapshot", "Blob", ""]), "name": odd_text},
    optional={"apiGroup": odd_text, "namespace": odd_text},
)
claims = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {
                "name": st.just(NAME.name),
                "namespace": st.just(NAME.namespace),
                "uid": st.just(NAME.uid),
                "annotations": st.dictionaries(st.sampled_from(NOTES), odd_text, max_size=1).map(
                    lambda notes: {PROVISIONER_KEYS[0]: IDENTITY.provisioner, **notes}
                ),
            }
        ),
        "spec": st.fixed_dictionaries(
            {
                "storageClassName": st.just("odd"),
                "accessModes": st.lists(
                    st.sampled_from(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod", "Other"])
                ),
                "resources": st.fixed_dictionaries(
                    {"requests": st.fixed_dictionaries({"storage": st.just("1Gi") | quantities})}
                ),
            },
            optional={
                "volumeMode": st.sampled_from(["Filesystem", "Block"]),
                "dataSource": st.none() | references,
                "dataSourceRef": st.none() | references,
                "selector": st.none()
                | st.fixed_dictionaries(
                    {}, optional={"matchLabels": labels, "matchExpressions": st.lists(terms, max_size=3)}
                ),
                "volumeAttributesClassName": odd_text,
            },
        ),
        "status": st.just({"phase": "Pending"}),
    }
)
classes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"metadata": st.just({"name": "odd"}), "provisioner": st.just(IDENTITY.provisioner)},
    optional={
        "parameters": st.none() | st.dictionaries(st.sampled_from([*KNOWN, "fstyp"]), odd_text, max_size=4),
        "reclaimPolicy": st.sampled_from(["Delete", "Retain"]),
        "mountOptions": st.none() | st.lists(odd_text, max_size=3),
        "volumeBindingMode": st.sampled_from(["Immediate", "WaitForFirstConsumer"]),
        "allowedTopologies": st.none() | st.lists(st.just({"matchLabelExpressions": []}), max_size=1),
        "allowVolumeExpansion": st.booleans(),
    },
)


@settings(max_examples=600, deadline=None)
@given(claims, classes)
def test_any_claim_of_any_class(claim: dict[str, Any], storage_class: dict[str, Any]) -> None:
    try:
        step = plan.plan_claim(NAME, claim, storage_class, None, IDENTITY)
    except Permanent as refused:
        event(refused.code)
        return
    event(type(step).__name__)
    if isinstance(step, plan.Provision):
        volumes.volume_spec(step.request, IDENTITY, requests.EmptySource())
        volumes.export_spec(step.request, IDENTITY, None)
