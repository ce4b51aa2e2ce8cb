"""What the commands end with where nothing of a cluster answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CONFIG = {"release": "ns/x", "targets": [{"name": "a", "url": "http://127.0.0.1:1", "portalHost": "a"}]}
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {"x": 1}}
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "anna", "user": {"token": "t"}}],
    "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "anna"}}],
    "current-context": "gone",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in (("config", CONFIG), ("kubeconfig", KUBECONFIG), ("claim", CLAIM), ("nothing", {})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "kubeconfig", "claim", "code", "says"),
    [
        ("config", "kubeconfig", "claim", 1, "the API server gave no answer"),
        ("missing", "kubeconfig", "claim", 2, "cannot read the configuration"),
        ("nothing", "kubeconfig", "claim", 2, "is not a usable configuration"),
        ("config", "missing", "claim", 2, "missing.yaml"),
        ("config", "kubeconfig", "missing", 2, "missing.yaml"),
        ("config", "kubeconfig", "config", 2, "config.yaml"),
    ],
)
def test_an_exit_code_says_whether_the_input_has_to_change(
    folder: Path, config: str, kubeconfig: str, claim: str, code: int, says: str
) -> None:
    options = {"--config": config, "--kubeconfig": kubeconfig, "-f": claim}
    arguments = [word for option, name in options.items() for word in (option, str(folder / f"{name}.yaml"))]
    command = [sys.executable, "-m", "provisioner", "plan", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
