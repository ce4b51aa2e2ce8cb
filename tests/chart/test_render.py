"""What the chart makes of its values: valid for the API, in the restricted Pod Security Standard, named per release."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cluster.errors import CommandFailed
from tests.chart.helm import CHART, Document, Helm, of_kind, one

HOST_NETWORK: Document = {
    "enabled": True,
    "node": "node-1",
    "address": "192.0.2.1",
    "initiators": ["iqn.1993-08.org.debian:01:abc", "iqn.1993-08.org.debian:01:def"],
}
CUSTOM_RESOURCES = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}

COMBINATIONS: dict[str, Document] = {
    "defaults": {},
    "demonstration": {"target": {"persistence": {"enabled": False, "emptyDirSizeLimit": "2Gi"}}},
    "several": {"target": {"replicas": 3, "shards": 2}, "provisioner": {"replicas": 2}},
    "host network": {"target": {"hostNetwork": HOST_NETWORK, "nodeSelector": {"disk": "ssd"}}},
    "lio": {"target": {"hostNetwork": HOST_NETWORK, "engine": "lio"}},
    "secrets of the release": {"chap": {"secrets": "release"}},
    "existing secrets": {
        "api": {"existingTokenSecret": "token", "tls": {"existingSecret": "tls"}},
        "chap": {"existingKeySecret": "key"},
    },
    "cert-manager": {"api": {"tls": {"certManager": {"enabled": True}}}},
    "cert-manager's issuer": {
        "api": {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "ours", "kind": "ClusterIssuer"}}}}
    },
    "peers": {
        "networkPolicy": {
            "iscsiFrom": [{"namespaceSelector": {"matchLabels": {"vms": "yes"}}}],
            "monitoringFrom": [{"podSelector": {}}],
        }
    },
    "no policies": {"networkPolicy": {"enabled": False}},
    "extras": {
        "podDisruptionBudget": {"enabled": True},
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True},
            "grafanaDashboard": {"enabled": True},
        },
    },
    "everything about pods": {
        "commonLabels": {"team": "storage"},
        "imageRegistry": "registry.example.com/mirror/",
        "imagePullSecrets": ["pull"],
        "target": {
            "image": {"digest": f"sha256:{'0' * 64}"},
            "tolerations": [{"key": "storage", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
            ],
            "priorityClassName": "system-cluster-critical",
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "portal": {"type": "LoadBalancer", "annotations": {"pool": "storage"}},
        },
        "provisioner": {"podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "nodeSelector": {"e": "f"}},
    },
    "classes": {
        "storageClasses": [
            {"name": "fast", "default": True, "parameters": {"thin": False, "target": "disk=ssd"}},
            {"name": "kept", "reclaimPolicy": "Retain", "allowVolumeExpansion": False, "mountOptions": ["discard"]},
        ]
    },
    "long names": {"fullnameOverride": "a-name-that-is-much-longer-than-anybody-would-want-it-to-be"},
}


@pytest.fixture(scope="module", params=list(COMBINATIONS.values()), ids=list(COMBINATIONS))
def rendered(helm: Helm, request: pytest.FixtureRequest) -> list[Document]:
    return helm.render(request.param)


def test_is_valid_for_the_api(rendered: list[Document]) -> None:
    for document in rendered:
        if document["apiVersion"] not in CUSTOM_RESOURCES:
            kubernetes_validate.validate(document, "1.34", strict=True)


def test_names_fit_and_are_used_once(rendered: list[Document]) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in rendered]
    assert len(names) == len(set(names))
    for kind, name in names:
        assert len(name) <= (52 if kind == "StatefulSet" else 63), (kind, name)


def pod_specs(documents: list[Document]) -> list[tuple[str, dict[str, Any]]]:
    owners = [d for d in documents if d["kind"] in ("StatefulSet", "Deployment")]
    pods = [(d["metadata"]["name"], d["spec"]) for d in of_kind(documents, "Pod")]
    return [*((d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in owners), *pods]


def test_volumes_that_are_mounted_exist(rendered: list[Document]) -> None:
    claims = {
        claim["metadata"]["name"] for claim in one(rendered, "StatefulSet")["spec"].get("volumeClaimTemplates", [])
    }
    for name, pod in pod_specs(rendered):
        volumes = {volume["name"] for volume in pod["volumes"]} | claims
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name


def test_secrets_that_are_mounted_are_made_or_given(helm: Helm) -> None:
    for values in COMBINATIONS.values():
        documents = helm.render(values)
        made = {d["metadata"]["name"] for d in of_kind(documents, "Secret")}
        made |= {d["spec"]["secretName"] for d in of_kind(documents, "Certificate")}
        given = {"token", "tls", "key"} if values == COMBINATIONS["existing secrets"] else set()
        for name, pod in pod_specs(documents):
            mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
            assert mounted <= made | given, name


def test_the_certificate_covers_every_target_and_its_ca_signed_it(helm: Helm) -> None:
    from cryptography import x509

    documents = helm.render({"target": {"replicas": 2}})
    data = {key: base64.b64decode(value) for key, value in one(documents, "Secret", "lundock-api-tls")["data"].items()}
    certificate, authority = (x509.load_pem_x509_certificate(data[key]) for key in ("tls.crt", "ca.crt"))
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.lundock-target.lundock.svc", "localhost"]


def test_generated_secrets_differ_from_render_to_render(helm: Helm) -> None:
    first, second = (one(helm.render(), "Secret", "lundock-api-token")["data"]["token"] for _ in range(2))
    assert len(base64.b64decode(first)) == 43
    assert first != second


def test_a_portal_for_each_target_outlives_the_release(helm: Helm) -> None:
    documents = helm.render({"target": {"replicas": 2, "shards": 2}})
    for ordinal in range(2):
        portal = one(documents, "Service", f"lundock-target-{ordinal}")
        assert portal["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert portal["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] == f"lundock-target-{ordinal}"
        assert [port["port"] for port in portal["spec"]["ports"]] == [3260, 3261]


@pytest.mark.parametrize(("name", "shards"), [("defaults", 4), ("several", 2), ("lio", 1)])
def test_shards_and_their_ports(helm: Helm, name: str, shards: int) -> None:
    documents = helm.render(COMBINATIONS[name])
    container = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "LUNDOCK_SHARDS", "value": str(shards)} in container["env"]
    ports = [port for port in container["ports"] if port["name"].startswith("iscsi-")]
    assert [port["containerPort"] for port in ports] == list(range(3260, 3260 + shards))


def test_a_large_number_reaches_the_agent_as_digits(helm: Helm) -> None:
    settings = {"reserve_bytes": 2**40, "overcommit_ratio": 1.5, "image_hosts": ["a.example", "b.example"]}
    documents = helm.render({"target": {"settings": settings}})
    container = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["LUNDOCK_RESERVE_BYTES"] == str(2**40)
    assert environment["LUNDOCK_OVERCOMMIT_RATIO"] == "1.5"
    assert environment["LUNDOCK_IMAGE_HOSTS"] == "a.example b.example"


def test_host_network_pins_the_node_and_names_it_everywhere(helm: Helm) -> None:
    documents = helm.render(COMBINATIONS["host network"])
    pod = one(documents, "StatefulSet")["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "node-1", "disk": "ssd"}
    environment = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert environment["LUNDOCK_ISCSI_ADDRESSES"] == "192.0.2.1"
    assert "portalHost: 192.0.2.1" in one(documents, "ConfigMap", "lundock-provisioner")["data"]["provisioner.yaml"]
    assert one(documents, "StorageClass")["parameters"]["initiators"] == ",".join(HOST_NETWORK["initiators"])
    assert not of_kind(documents, "Service", "lundock-target-0")


def test_only_the_lio_mode_is_privileged(helm: Helm) -> None:
    for name, values in COMBINATIONS.items():
        text = str(helm.render(values))
        assert ("'privileged': True" in text) == (name == "lio")
        assert ("hostPath" in text) == (name == "lio")


@pytest.mark.parametrize("kubernetes", ["1.29.0", "1.30.0", "1.34.2"])
def test_without_the_admission_policy_secrets_stay_in_the_release(helm: Helm, kubernetes: str) -> None:
    documents = helm.render({}, kubernetes)
    cluster_wide = [
        rule for rule in one(documents, "ClusterRole", "lundock.lundock")["rules"] if "secrets" in rule["resources"]
    ]
    configuration = yaml.safe_load(one(documents, "ConfigMap", "lundock-provisioner")["data"]["provisioner.yaml"])
    if kubernetes == "1.29.0":
        assert not of_kind(documents, "ValidatingAdmissionPolicy")
        assert not cluster_wide
        assert configuration["chap"]["secretNamespace"] == "lundock"
    else:
        assert of_kind(documents, "ValidatingAdmissionPolicy")
        assert cluster_wide == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update", "delete"]}]
        assert "secretNamespace" not in configuration["chap"]


def test_two_releases_share_no_name(helm: Helm) -> None:
    def names(which: Helm) -> set[tuple[str, str, str]]:
        values = {"provisioner": {"name": f"{which.release}.example"}, "storageClasses": [{"name": which.release}]}
        documents = which.render(values)
        return {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents}

    first = names(replace(helm, release="one", namespace="storage"))
    assert not first & names(replace(helm, release="two", namespace="storage"))
    cluster_wide = {name for name in first if not name[1]}
    assert not cluster_wide & names(replace(helm, release="one", namespace="other")) - {("StorageClass", "", "one")}


TARGET_PODS = {"app.kubernetes.io/name": "lundock", "app.kubernetes.io/instance": "lundock"} | {
    "app.kubernetes.io/component": "target"
}


def allowed(policy: Document) -> dict[str, list[Document] | None]:
    """Who reaches each port by its name; None means everyone."""
    return {port["port"]: rule.get("from") for rule in policy["spec"]["ingress"] for port in rule["ports"]}


@pytest.mark.parametrize("name", ["defaults", "peers", "several"])
def test_who_reaches_the_target(helm: Helm, name: str) -> None:
    """The API is the provisioner's alone; iSCSI and monitoring are whose the user says."""
    documents = helm.render(COMBINATIONS[name])
    policy = one(documents, "NetworkPolicy", "lundock-target")
    assert policy["spec"]["podSelector"]["matchLabels"] == TARGET_PODS
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    peers = allowed(policy)
    pod = one(documents, "StatefulSet")["spec"]["template"]
    assert TARGET_PODS.items() <= pod["metadata"]["labels"].items()
    assert set(peers) == {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    provisioner = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    (caller,) = peers["api"] or []
    assert set(caller) == {"podSelector"}, "of this namespace"
    assert caller["podSelector"]["matchLabels"].items() <= provisioner.items()
    assert caller["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "provisioner"
    given = COMBINATIONS[name].get("networkPolicy")
    for iscsi in (peers[port] for port in peers if port.startswith("iscsi-")):
        if given is None:
            assert iscsi is None
        else:
            test = one(documents, "Pod", "lundock-test")["metadata"]["labels"]
            assert iscsi is not None
            assert iscsi[:-1] == given["iscsiFrom"]
            assert iscsi[-1]["podSelector"]["matchLabels"].items() <= test.items()
    for port in ("page", "metrics"):
        assert peers[port] == (given["monitoringFrom"] if given else None)


def test_nobody_calls_the_provisioner(helm: Helm) -> None:
    policy = one(helm.render(COMBINATIONS["peers"]), "NetworkPolicy", "lundock-provisioner")
    assert allowed(policy) == dict.fromkeys(
        ["health", "metrics"], COMBINATIONS["peers"]["networkPolicy"]["monitoringFrom"]
    )


def test_a_drain_waits_for_whoever_moves_the_vms(helm: Helm) -> None:
    documents = helm.render(COMBINATIONS["extras"] | {"target": {"replicas": 3}, "provisioner": {"replicas": 2}})
    budgets = {d["metadata"]["name"]: d["spec"] for d in of_kind(documents, "PodDisruptionBudget")}
    assert {name: spec["maxUnavailable"] for name, spec in budgets.items()} == {
        "lundock-target": 0,
        "lundock-provisioner": 1,
    }
    for kind, name in (("StatefulSet", "lundock-target"), ("Deployment", "lundock-provisioner")):
        labels = one(documents, kind)["spec"]["template"]["metadata"]["labels"]
        assert budgets[name]["selector"]["matchLabels"].items() <= labels.items()
    assert not of_kind(helm.render(), "PodDisruptionBudget")


def test_what_artifact_hub_shows_is_what_is_installed(helm: Helm) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    named = {image["image"] for image in yaml.safe_load(chart["annotations"]["artifacthub.io/images"])}
    pods = pod_specs(helm.render())
    assert named == {container["image"] for _, pod in pods for container in pod["containers"]}
    assert yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
    assert chart["annotations"]["artifacthub.io/license"] == "Apache-2.0"


def test_only_the_lio_mode_leaves_the_restricted_standard_beside_the_host_network(helm: Helm) -> None:
    """The Pod Security Standard's fields, on every pod of every combination but lio's target."""
    for name, values in COMBINATIONS.items():
        for workload, pod in pod_specs(helm.render(values)):
            if name == "lio" and workload == "lundock-target":
                continue
            assert pod["securityContext"]["runAsNonRoot"] is True, (name, workload)
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, (name, workload)
            assert pod.get("hostNetwork", False) == (name == "host network" and workload == "lundock-target")
            for container in pod["containers"]:
                security = container["securityContext"]
                assert security["allowPrivilegeEscalation"] is False, (name, workload)
                assert security["capabilities"] == {"drop": ["ALL"]}, (name, workload)


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(CommandFailed, match=r"requires kubeVersion: >=1\.29"):
        helm.render({}, "1.28.0")


def test_lint_is_clean(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", CHART, "--strict", "--kube-version", "1.34.2")
