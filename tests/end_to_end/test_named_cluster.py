"""`./demo --kubeconfig FILE --registry HOST/PATH`: a cluster of the user's, whose nodes pull what was pushed.

Minutes of pushing and pulling, and it installs the release `lundock` itself: run by `-m slow`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.embedded import Cluster
from cluster.machine.ports import free_ports
from cluster.places import REPOSITORY
from tests.capabilities import need
from tests.end_to_end.conftest import BOOT_TIMEOUT_S
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on loopback, where Docker and containerd speak plain HTTP by default. Yields host and port."""
    need("docker-registry")
    host = f"127.0.0.1:{free_ports()}"
    config = tmp_path / "registry.yaml"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": host},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with subprocess.Popen(["docker-registry", "serve", config], stderr=subprocess.DEVNULL) as serving:
        try:
            yield host
        finally:
            serving.terminate()


def walk(cluster: Cluster, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "cluster.walkthrough", *map(str, arguments)]
    # kubectl and helm on PATH; KUBECONFIG is not to be looked at
    environment = {**os.environ, **cluster.plane.client_environment, "KUBECONFIG": "/nonexistent"}
    timeout_s = 900 + BOOT_TIMEOUT_S
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=REPOSITORY, env=environment
    )


def test_a_cluster_without_a_registry_is_refused(cluster: Cluster) -> None:
    done = walk(cluster, "--kubeconfig", cluster.kubeconfig)
    assert done.returncode == 1
    assert "--registry" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_walk_on_a_named_cluster_ends_at_a_login_prompt(cluster: Cluster, registry: str) -> None:
    if cluster.kubectl("get", "namespace", "lundock", "--ignore-not-found"):
        pytest.skip("the release `lundock` is installed already: run this test in a session of its own")
    done = walk(cluster, "--kubeconfig", cluster.kubeconfig, "--registry", registry)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lundock-demo login:" in done.stdout
    eventually(lambda: not cluster.kubectl("get", "namespace", "lundock", "--ignore-not-found"), "the namespace to go")
    images = cluster.kubectl("get", "node", "-o", "jsonpath={.items[0].status.images[*].names}")
    assert f"{registry}/lundock/runner" in images, "the node pulled it from the registry"
