"""check, plan and sweep on a real API server, as a user with exactly the documented rights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.components.control_plane import ControlPlane
from lundock_common.kubernetes_api import secrets_path
from provisioner.commands import check
from target_image.api import requests
from tests.provisioner.stage import Stage
from tests.waiting import eventually

pytestmark = pytest.mark.cluster


def command(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioner", *map(str, argv)], capture_output=True, text=True, timeout=120, check=False
    )


def config(stage: Stage, **changes: object) -> Path:
    file = stage.folder / "command.yaml"
    file.write_text(yaml.safe_dump({**stage.config, **changes}))
    return file


@pytest.fixture(scope="module")
def user(control_plane: ControlPlane, stage: Stage) -> Path:
    """A kubeconfig of a user that may do what docs/reference/provisioner.md lists, and nothing else."""
    name = f"provisioner-{stage.id}"
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": verbs.split()}
        for (group, resource), verbs in check.CLUSTER_RIGHTS.items()
    ]
    rules.append({"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]})
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    lease_rules = [
        {**lease, "verbs": ["create"]},
        {**lease, "verbs": ["get", "update"], "resourceNames": [f"lundock-{stage.id}"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "name": name, "apiGroup": rbac}]
    objects = [
        {"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "subjects": subjects,
            "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": rbac},
        },
        {"kind": "Role", "metadata": {"name": name, "namespace": "default"}, "rules": lease_rules},
        {
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": "default"},
            "subjects": subjects,
            "roleRef": {"kind": "Role", "name": name, "apiGroup": rbac},
        },
    ]
    text = "---\n".join(json.dumps({"apiVersion": f"{rbac}/v1", **item}) + "\n" for item in objects)
    control_plane.kubectl("apply", "-f", "-", stdin=text)
    return control_plane.make_kubeconfig(name)


def test_the_documented_rights_are_enough(own_stage: Stage, user: Path, stage: Stage) -> None:
    """Provision, grow, rotate, delete and elect as that user."""
    own_stage.config["leaderElection"]["name"] = f"lundock-{stage.id}-x"
    own_stage.config["leaderElection"]["enabled"] = False
    own_stage.kubeconfig = user
    own_stage.process = own_stage.provisioner()
    own_stage.up()
    own_stage.claim("disk")
    pv = own_stage.bound("disk")
    own_stage.patch_claim("disk", {"spec": {"resources": {"requests": {"storage": "16Mi"}}}})
    own_stage.wait_event("disk", "VolumeResizeSuccessful")
    own_stage.patch_claim("disk", {"metadata": {"annotations": {"lundock.io/rotate-chap": "1"}}})
    own_stage.wait_event("disk", "CHAPRotated")
    own_stage.delete_claim("disk")
    name = pv["metadata"]["name"]
    eventually(lambda: name not in {item["metadata"]["name"] for item in own_stage.pvs()}, "the PV to go")


def test_check(stage: Stage, user: Path) -> None:
    good = command("check", "--config", config(stage), "--kubeconfig", user)
    assert good.returncode == 0, good.stdout + good.stderr
    rows = [re.split(" {3,}", line) for line in good.stdout.splitlines()]
    assert rows[0] == ["LEVEL", "CHECKED", "DETAIL"]
    assert ["ok", "rights", "everything that is needed is allowed"] in rows
    assert ["ok", f"StorageClass {stage.id}", f"on {stage.targets[0].name}"] in rows
    assert "engine tgt" in good.stdout


def test_check_names_what_is_wrong(stage: Stage, control_plane: ControlPlane) -> None:
    stage.make_class(f"{stage.id}-check", {"target": "nowhere"})
    nobody = control_plane.make_kubeconfig("nobody-at-all")
    bad = command("check", "--config", config(stage), "--kubeconfig", nobody)
    assert bad.returncode == 1
    assert "missing: get persistentvolumes, list persistentvolumes" in bad.stdout
    assert "get namespaces, create leases, get leases, update leases" in bad.stdout
    targets = [{"name": "gone", "url": "http://127.0.0.1:1", "portalHost": "gone"}]
    bad = command("check", "--config", config(stage, targets=targets), "--kubeconfig", stage.kubeconfig)
    assert bad.returncode == 1
    assert "target gone does not answer at http://127.0.0.1:1" in bad.stdout
    assert f"StorageClass {stage.id}-check" in bad.stdout


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: planned, namespace: %s}
spec:
  storageClassName: %s
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""


def test_plan_touches_nothing(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "claim.yaml"
    file.write_text(CLAIM % (stage.namespace, stage.id))
    answer = command("plan", "-f", file, "--config", config(stage), "--kubeconfig", stage.kubeconfig)
    assert answer.returncode == 0, answer.stderr
    (plan,) = yaml.safe_load_all(answer.stdout)
    assert plan["step"] == "Provision"
    assert plan["targets"] == [stage.targets[0].name]
    assert plan["persistentVolume"]["spec"]["iscsi"]["lun"] == 1
    assert stage.get_claim("planned") is None


def test_plan_says_why_not(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "claim.yaml"
    file.write_text((CLAIM % (stage.namespace, stage.id)).replace("ReadWriteOnce", "ReadWriteMany"))
    answer = command("plan", "-f", file, "--config", config(stage), "--kubeconfig", stage.kubeconfig)
    assert answer.returncode == 1
    (plan,) = yaml.safe_load_all(answer.stdout)
    assert (plan["step"], plan["code"]) == ("Refuse", "BadAccessMode")


def test_plan_takes_the_default_class_where_a_claim_names_none(stage: Stage, tmp_path: Path) -> None:
    default = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "planned", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": stage.name,
        "parameters": {"fsType": "xfs"},
    }
    file = tmp_path / "claim.yaml"
    text = (CLAIM % (stage.namespace, "x")).replace("  storageClassName: x\n", "")
    file.write_text(f"{text}---\n{yaml.safe_dump(default)}")
    answer = command("plan", "-f", file, "--config", config(stage), "--kubeconfig", stage.kubeconfig)
    assert answer.returncode == 0, answer.stderr
    (plan,) = yaml.safe_load_all(answer.stdout)
    spec = plan["persistentVolume"]["spec"]
    assert (spec["storageClassName"], spec["iscsi"]["fsType"]) == ("planned", "xfs")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\n", "has no spec"),
        (
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {namespace: a}\nspec: {x: 1}\n",
            "has no metadata.name",
        ),
        ("apiVersion: v1\nkind: Pod\n", "holds no PersistentVolumeClaim"),
        ("kind: PersistentVolumeClaim\n", "no apiVersion and kind"),
    ],
)
def test_plan_of_a_file_that_holds_no_whole_claim(stage: Stage, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "claim.yaml"
    file.write_text(text)
    answer = command("plan", "-f", file, "--config", config(stage), "--kubeconfig", stage.kubeconfig)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_sweep_lists_an_orphan_and_removes_it_only_when_told(stage: Stage) -> None:
    client, uid = stage.targets[0].client, stage.kube.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    owner = requests.Owner(
        cluster=uid, release=stage.config["release"], namespace=stage.namespace, claim="x", claim_uid="0"
    )
    client.ensure_volume("pvc-0", requests.VolumeSpec(size_bytes=2**20, owner=owner))
    stage.make_class(f"{stage.id}-vault", {"chapSecretNamespace": "default"})
    secret = {"metadata": {"name": "pvc-0-chap"}, "type": "kubernetes.io/iscsi-chap"}
    for namespace in (stage.namespace, "default"):
        stage.kube.create(secrets_path(namespace), secret)
    file = config(stage, sweep={"mode": "report", "graceSeconds": 0, "maxFraction": 1})
    listed = command("sweep", "--dry-run", "--config", file, "--kubeconfig", stage.kubeconfig)
    assert listed.returncode == 0, listed.stderr
    assert "pvc-0" in listed.stdout
    assert f"made for claim {stage.namespace}/x (uid 0), which is gone" in listed.stdout
    as_json = command("sweep", "--config", file, "--kubeconfig", stage.kubeconfig, "-o", "json")
    assert [row["volume"] for row in json.loads(as_json.stdout)] == ["pvc-0"]
    there = client.get_volume("pvc-0")
    assert there is not None
    assert there.trashed_at is None
    for _ in range(2):
        done = command("sweep", "--remove", "--config", file, "--kubeconfig", stage.kubeconfig)
        assert done.returncode == 0, done.stderr
    assert client.get_volume("pvc-0") is None
    for namespace in (stage.namespace, "default"):
        assert "pvc-0-chap" not in {item["metadata"]["name"] for item in stage.kube.list(secrets_path(namespace))[0]}


def test_a_wrong_configuration_is_one_message_and_code_2(tmp_path: Path) -> None:
    answer = command("run", "--config", tmp_path / "missing.yaml")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: cannot read the configuration")
    assert "Traceback" not in answer.stderr


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv[1:] = ['--help']\ntry:\n import provisioner.__main__ as m; m.main()\n"
    code += "except SystemExit: print([n for n in ('kubernetes', 'pydantic', 'yaml') if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip().endswith("[]")
