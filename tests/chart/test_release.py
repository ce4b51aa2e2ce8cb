"""A release's life on a real API server: upgrades, scale-downs, removal, a second one beside it. No pod runs here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from cluster.components.control_plane import ControlPlane
from cluster.errors import CommandFailed
from tests.chart.helm import Document, Helm

pytestmark = pytest.mark.cluster

VALUES: Document = {
    "provisioner": {"name": "life.example"},
    "storageClasses": [{"name": "life"}],
    "target": {"replicas": 3},
}
SECRETS = ("life-lundock-api-token", "life-lundock-api-tls", "life-lundock-chap-key")


@pytest.fixture
def release(helm: Helm, control_plane: ControlPlane) -> Iterator[Helm]:
    installed = replace(helm, kubeconfig=control_plane.kubeconfig, release="life", namespace="chart-life")
    installed.install(VALUES)
    yield installed
    if installed.run("list", "--namespace", installed.namespace, "-q").strip():
        installed.uninstall()
    everything = ("service,secret,pvc", "-l", "app.kubernetes.io/instance=life")
    control_plane.kubectl("delete", "-n", installed.namespace, *everything, "--wait=false")


def get(plane: ControlPlane, kind: str, *names: str, namespace: str = "chart-life") -> list[Document]:
    """The objects of these names that exist."""
    text = plane.kubectl("get", kind, "-n", namespace, "-o", "yaml", "--ignore-not-found", *names)
    found = yaml.safe_load(text) if text.strip() else {"items": []}
    return list(found["items"]) if "items" in found else [found]


def names(objects: list[Document]) -> set[str]:
    return {o["metadata"]["name"] for o in objects}


def portals(plane: ControlPlane) -> dict[str, str]:
    """Portal Services and their addresses."""
    labelled = ("-l", "app.kubernetes.io/component=portal")
    return {s["metadata"]["name"]: s["spec"]["clusterIP"] for s in get(plane, "service", *labelled)}


def test_an_upgrade_keeps_token_key_and_certificate(release: Helm, control_plane: ControlPlane) -> None:
    before = {s["metadata"]["name"]: s["data"] for s in get(control_plane, "secret", *SECRETS)}
    assert set(before) == set(SECRETS)
    release.install({**VALUES, "commonLabels": {"upgraded": "yes"}})
    after = get(control_plane, "secret", *SECRETS)
    assert {s["metadata"]["name"]: s["data"] for s in after} == before
    assert all(s["metadata"]["labels"]["upgraded"] == "yes" for s in after)


def test_scaling_down_keeps_the_portals_and_says_so(release: Helm, control_plane: ControlPlane) -> None:
    before = portals(control_plane)
    notes = release.install({**VALUES, "target": {"replicas": 1}})
    assert portals(control_plane) == before
    assert "Kept from a larger release: life-lundock-target-1, life-lundock-target-2." in notes
    release.install(VALUES)
    assert portals(control_plane) == before


def test_uninstalling_keeps_portals_and_key_and_installing_again_takes_them_back(
    release: Helm, control_plane: ControlPlane
) -> None:
    before = portals(control_plane)
    key = get(control_plane, "secret", "life-lundock-chap-key")[0]["data"]
    said = release.uninstall()
    assert "kept due to the resource policy" in said
    assert portals(control_plane) == before
    assert names(get(control_plane, "secret", *SECRETS)) == {"life-lundock-chap-key"}
    assert not get(control_plane, "statefulset")
    assert not get(control_plane, "clusterrole", "life-lundock.chart-life")
    release.install(VALUES)
    assert portals(control_plane) == before
    assert get(control_plane, "secret", "life-lundock-chap-key")[0]["data"] == key


def test_the_notes_show_three_commands_and_what_is_not_as_usual(release: Helm) -> None:
    notes = release.install(VALUES).partition("NOTES:")[2]
    steps = [line[:2] for line in notes.splitlines() if line[:2] in ("1.", "2.", "3.", "4.")]
    assert steps == ["1.", "2.", "3."]
    claim = yaml.safe_load(notes.partition("<<EOF\n")[2].partition("   EOF")[0])
    assert claim["spec"]["storageClassName"] == "life"
    for command in (
        "kubectl -n chart-life wait pod",
        "kubectl wait pvc/vm-disk",
        "vm-disks start -f manifests/vm.yaml",
    ):
        assert command in notes
    assert "WARNING" not in notes
    assert "Uninstalling keeps the portals' Services, the targets' data claims and the key" in notes


def test_the_notes_of_the_modes_that_are_not_restricted_say_so(release: Helm) -> None:
    network = {"enabled": True, "node": "n1", "address": "192.0.2.1", "initiators": ["iqn.1993-08.org.debian:01:abc"]}
    values = {
        "provisioner": {"name": "modes.example"},
        "storageClasses": [{"name": "modes"}],
        "target": {"hostNetwork": network, "engine": "lio"},
    }
    notes = replace(release, release="modes", namespace="chart-modes").install(values, "--dry-run=server")
    assert "cannot be\nheld to the restricted Pod Security Standard" in notes
    assert "WARNING: target.engine is lio. The target's pod is privileged" in notes
    temporary = {**VALUES, "target": {"persistence": {"enabled": False}}}
    assert "A target's volumes are lost with its pod" in release.install(temporary, "--dry-run=server")


def test_a_second_release_needs_its_own_provisioner_name(release: Helm, control_plane: ControlPlane) -> None:
    second = replace(release, release="second", namespace="chart-second")
    with pytest.raises(CommandFailed, match="StorageClass life of the release chart-life/life already uses"):
        second.install({**VALUES, "storageClasses": [{"name": "second"}]})


def test_two_releases_do_not_touch_each_other(release: Helm, control_plane: ControlPlane) -> None:
    before = portals(control_plane)
    second = replace(release, release="second", namespace="chart-second")
    second.install({"provisioner": {"name": "second.example"}, "storageClasses": [{"name": "second"}]})
    second.uninstall()
    assert portals(control_plane) == before
    assert names(get(control_plane, "statefulset")) == {"life-lundock-target"}
    assert get(control_plane, "storageclass", "life")
    assert get(control_plane, "clusterrole", "life-lundock.chart-life")


@pytest.mark.parametrize(
    "values", [{}, {"target": {"replicas": 2, "shards": 2}, "podDisruptionBudget": {"enabled": True}}]
)
def test_a_namespace_held_to_the_restricted_standard_takes_its_pods(
    helm: Helm, control_plane: ControlPlane, values: Document
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": "chart-restricted", "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(namespace))
    held = replace(helm, kubeconfig=control_plane.kubeconfig, release="held", namespace="chart-restricted")
    held.install({"provisioner": {"name": "held.example"}, "storageClasses": [{"name": "held"}], **values})
    try:
        # What counts is the admission of the pods themselves: their controllers made them, although no node runs them.
        targets = values.get("target", {}).get("replicas", 1)
        for workload, pods in (
            ("statefulset/held-lundock-target", targets),
            ("deployment/held-lundock-provisioner", 1),
        ):
            condition = f"--for=jsonpath={{.status.replicas}}={pods}"
            control_plane.kubectl("wait", workload, condition, "-n", "chart-restricted", "--timeout=60s")
    finally:
        held.uninstall()
