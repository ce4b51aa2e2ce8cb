"""The provisioner's rights are what it uses, no more and no less: its service account's audit log against its roles.

The chart's release is on a real API server; the provisioner runs as its service account (as a process, since no node
is there) with a real target, and goes through a claim's life. Every right that it was never seen to use would be one
too many, and each that it misses would be a refusal in the log.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from cluster.components.control_plane import ControlPlane, kubeconfig
from tests.capabilities import need
from tests.chart.helm import Document, Helm, one
from tests.provisioner.stage import Stage, target_running
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

NAMESPACE = "chart-rights"
MODES = ("claims", "release")
"""Where CHAP Secrets lie (chap.secrets): that decides on which rights there are. Each has a release of its own."""


def account(mode: str) -> str:
    return f"{mode}-lundock-provisioner"


def user(mode: str) -> str:
    return f"system:serviceaccount:{NAMESPACE}:{account(mode)}"


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one kind of resource. `namespace` is empty for what holds everywhere, `name` for all names."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Path]]:
    """A control plane that writes down what the provisioner asks for."""
    folder = tmp_path_factory.mktemp("audit")
    policy, log = folder / "policy.yaml", folder / "audit.log"
    rules = [
        {"level": "Metadata", "users": [user(mode) for mode in MODES], "omitStages": ["RequestReceived"]},
        {"level": "None"},
    ]
    policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
    with ControlPlane.alone(f"--audit-policy-file={policy}", f"--audit-log-path={log}") as plane:
        yield plane, log


def granted(documents: list[Document]) -> set[Right]:
    rights = set()
    for kind in ("ClusterRole", "Role"):
        (role,) = [d for d in documents if d["kind"] == kind and not d["metadata"]["name"].endswith("test")]
        for rule in role["rules"]:
            for verb in rule["verbs"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        place = role["metadata"].get("namespace", "")
                        rights.add(Right(verb, rule["apiGroups"][0], resource, place, name))
    return rights


def requests(log: Path, mode: str) -> list[Document]:
    """What the provisioner asked of resources; everyone may ask for its own rights and for the API's description."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        entry
        for entry in entries
        if entry["user"]["username"] == user(mode)
        and "objectRef" in entry
        and entry["objectRef"].get("apiGroup") != "authorization.k8s.io"
    ]


def used(entry: Document, rights: set[Right]) -> Right:
    """The right that a request needed: the granted one that covers it, or the narrowest that would."""
    reference = entry["objectRef"]
    resource = "/".join(filter(None, [reference["resource"], reference.get("subresource")]))
    namespace, name = reference.get("namespace", ""), reference.get("name", "")
    narrowest = Right(entry["verb"], reference.get("apiGroup", ""), resource, namespace, name)
    wider = [replace(narrowest, name=""), replace(narrowest, namespace=""), replace(narrowest, namespace="", name="")]
    return next((right for right in (narrowest, *wider) if right in rights), narrowest)


def as_account(plane: ControlPlane, mode: str, file: Path) -> Path:
    """A kubeconfig with a token of the release's service account."""
    token = plane.kubectl("create", "token", account(mode), "-n", NAMESPACE, "--duration=1h").strip()
    pair = plane.authority.issue("unused", "unused")
    document = kubeconfig(plane.url, plane.authority.files.certificate, account(mode), pair)
    document["users"] = [{"name": account(mode), "user": {"token": token}}]
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


@pytest.mark.parametrize("mode", MODES)
def test_the_provisioner_uses_every_right_it_has_and_misses_none(
    helm: Helm, audited: tuple[ControlPlane, Path], tmp_path: Path, mode: str
) -> None:
    need("tgtd")
    plane, log = audited
    installed = replace(helm, kubeconfig=plane.kubeconfig, release=mode, namespace=NAMESPACE)
    with target_running(tmp_path, "target-0") as first, target_running(tmp_path, "target-1") as second:
        stage = Stage(plane.kubeconfig, tmp_path, [first, second])
        values = {
            "provisioner": {"name": stage.name},
            "storageClasses": [{"name": f"rights-{mode}"}],
            "chap": {"secrets": mode},
        }
        installed.install(values)
        rendered = installed.render(values)
        configured = yaml.safe_load(one(rendered, "ConfigMap", account(mode))["data"]["provisioner.yaml"])
        # The release's own configuration, but for what is another here: where the targets are, and the ports.
        own = {key: stage.config[key] for key in ("targets", "http")}
        stage.config |= configured | own | {"chap": configured["chap"] | stage.config["chap"]}
        stage.process = stage.provisioner()
        stage.process.argv[-1] = f"--kubeconfig={as_account(plane, mode, tmp_path / 'account.kubeconfig')}"
        try:
            live_a_claims_life(stage, tmp_path)
        finally:
            stage.down()

    rights, asked = granted(rendered), requests(log, mode)
    refused = [entry["requestURI"] for entry in asked if entry["responseStatus"]["code"] == 403]
    assert not refused
    seen = {used(entry, rights) for entry in asked}
    assert sorted(rights - seen) == [], "granted, and never used"
    assert sorted(seen - rights) == [], "used, and granted by something else"


def live_a_claims_life(stage: Stage, folder: Path) -> None:
    """Everything that the provisioner does: claims are made, refused, grown, repaired, deleted; it stops and starts."""
    wrong = stage.claim("wrong", notes={"lundock.io/image": "No such image"})
    stage.up()
    stage.wait_event("wrong", "No such image")
    stage.process.stop()
    # Started again, it says the same of the same claim: an event that is there already is patched.
    stage.process.start()
    stage.claim("disk")
    volume = stage.bound("disk")
    stage.patch_claim("disk", {"spec": {"resources": {"requests": {"storage": "16Mi"}}}})

    def grown() -> bool:
        claim = stage.get_claim("disk")
        return claim is not None and claim["status"]["capacity"]["storage"] == "16Mi"

    eventually(grown, "the claim to grow")
    reference = volume["spec"]["iscsi"]["secretRef"]
    stage.kube.delete(f"/api/v1/namespaces/{reference['namespace']}/secrets/{reference['name']}")
    eventually(lambda: stage.secret(volume), "the Secret to be there again")
    command(stage, "check")
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    (folder / "claim.yaml").write_text(yaml.safe_dump(wrong | kind), encoding="utf-8")
    command(stage, "plan", f"--filename={folder / 'claim.yaml'}")
    stage.delete_claim("wrong")
    stage.delete_claim("disk")
    eventually(lambda: not stage.pvs(), "the PV to go")


def command(stage: Stage, name: str, *arguments: str) -> None:
    """A command that an operator runs in the provisioner's pod."""
    argv = [name if word == "run" else word for word in stage.process.argv]
    done = subprocess.run([*argv, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 2, done.stderr  # it was used as it is to be used
    assert "forbidden" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
