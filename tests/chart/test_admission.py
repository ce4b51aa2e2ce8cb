"""The ValidatingAdmissionPolicy on a real API server: the provisioner writes its own CHAP Secrets, and no others."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cluster.components.control_plane import ControlPlane
from cluster.errors import CommandFailed
from tests.chart.helm import Helm

pytestmark = pytest.mark.cluster

KEYS = {"node.session.auth.username": "u", "node.session.auth.password": "p"}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def release(helm: Helm, control_plane: ControlPlane) -> Iterator[Helm]:
    installed = replace(helm, kubeconfig=control_plane.kubeconfig, release="guard", namespace="chart-guard")
    values = {"provisioner": {"name": "guard.example"}, "storageClasses": [{"name": "guard"}]}
    installed.install(values)
    control_plane.kubectl("create", "namespace", "chart-tenant")
    yield installed
    installed.uninstall()
    control_plane.kubectl("delete", "namespace", "chart-tenant", "chart-guard", "--wait=false")


def secret(name: str | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name or f"pvc-{uuid.uuid4()}-chap", "namespace": "chart-tenant"},
        "type": "kubernetes.io/iscsi-chap",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in KEYS.items()},
    }


@pytest.fixture
def as_provisioner(release: Helm, control_plane: ControlPlane) -> Callable[..., str]:
    user = "system:serviceaccount:chart-guard:guard-lundock-provisioner"

    def act(verb: str, document: dict[str, Any]) -> str:
        return control_plane.kubectl(verb, "--as", user, "-f", "-", stdin=yaml.safe_dump(document))

    return act


def test_its_own_secret_is_created_replaced_and_deleted(
    as_provisioner: Callable[..., str], control_plane: ControlPlane
) -> None:
    claim: dict[str, Any] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "owner"}}
    claim["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    created = control_plane.kubectl(
        "create", "-n", "chart-tenant", "-f", "-", "-o", "jsonpath={.metadata.uid}", stdin=yaml.safe_dump(claim)
    )
    ours = secret()
    ours["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "owner", "uid": created}
    ]
    as_provisioner("create", ours)
    ours["data"]["node.session.auth.password"] = base64.b64encode(b"another").decode()
    as_provisioner("replace", ours)
    as_provisioner("delete", ours)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(type="Opaque"), "of type kubernetes.io/iscsi-chap only"),
        (lambda s: s["metadata"].update(name="registry-credentials"), "named pvc-<claim UID>-chap only"),
        (lambda s: s["metadata"].update(name=f"x{secret()['metadata']['name']}"), "named pvc-<claim UID>-chap only"),
        (lambda s: s["data"].update(token="eA=="), "the keys of a CHAP Secret only"),
        (lambda s: s.update(stringData={"token": "x"}), "the keys of a CHAP Secret only"),
    ],
    ids=["type", "name", "prefixed name", "key", "key as stringData"],
)
def test_another_secret_is_refused(as_provisioner: Callable[..., str], change: Change, says: str) -> None:
    wrong = secret()
    change(wrong)
    with pytest.raises(CommandFailed, match=says):
        as_provisioner("create", wrong)


def test_a_foreign_secret_is_neither_changed_nor_deleted(
    as_provisioner: Callable[..., str], control_plane: ControlPlane
) -> None:
    foreign = secret(f"foreign-{uuid.uuid4()}") | {"type": "Opaque", "data": {"password": "c2VjcmV0"}}
    control_plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump(foreign))
    for verb in ("replace", "delete"):
        with pytest.raises(CommandFailed, match="Lundock's provisioner may write"):
            as_provisioner(verb, foreign)
    name = foreign["metadata"]["name"]
    kept = control_plane.kubectl("get", "secret", name, "-n", "chart-tenant", "-o", "jsonpath={.data.password}")
    assert kept == "c2VjcmV0"


def test_others_are_not_held_to_it(release: Helm, control_plane: ControlPlane) -> None:
    mine = secret(f"mine-{uuid.uuid4()}") | {"type": "Opaque"}
    control_plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump(mine))
    control_plane.kubectl("delete", "-f", "-", stdin=yaml.safe_dump(mine))


def test_where_secrets_stay_in_the_release_no_other_namespace_is_open(helm: Helm, control_plane: ControlPlane) -> None:
    apart = replace(helm, kubeconfig=control_plane.kubeconfig, release="apart", namespace="chart-apart")
    values = {
        "chap": {"secrets": "release"},
        "provisioner": {"name": "apart.example"},
        "storageClasses": [{"name": "apart"}],
    }
    apart.install(values)
    user = "system:serviceaccount:chart-apart:apart-lundock-provisioner"

    def may(namespace: str) -> bool:
        try:
            control_plane.kubectl("auth", "can-i", "create", "secrets", "-n", namespace, "--as", user, "-q")
        except CommandFailed:
            return False
        return True

    try:
        assert may("chart-apart")
        assert not may("default")
    finally:
        apart.uninstall()
        control_plane.kubectl("delete", "namespace", "chart-apart", "--wait=false")
