"""The runner's image: a VM in a container that may do nothing special, as a pod under restricted pod security."""

from __future__ import annotations

import io
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.components import images
from cluster.machine import waiting
from tests.capabilities import need
from tests.docker import docker, logs
from tests.vm_disks_runtime import vms
from tests.vm_disks_runtime.target import Lun, Target

pytestmark = pytest.mark.integration

RESTRICTED = (
    *("--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"),
    *("--tmpfs", "/home/runner:uid=1000,mode=700", "--tmpfs", "/tmp", "--network", "host"),  # noqa: S108
)


@pytest.fixture(scope="session")
def image() -> str:
    need("docker")
    return images.build("lundock/runner", print)


@pytest.fixture
def container() -> Iterator[str]:
    name = f"runner-{uuid.uuid4().hex[:8]}"
    yield name
    docker("rm", "-f", name, check=False)


def wait_for(text: str, container: str, timeout_s: float = 240) -> str:
    """The container's log, as soon as it has this text. Fails with the log when the container ends before that."""

    def look() -> str:
        log = logs(container)
        if text not in log:
            assert docker("inspect", "-f", "{{.State.Running}}", container).stdout.strip() == "true", log
        return log

    log = waiting.wait_for(look, timeout_s, enough=lambda log: text in log, pause_s=0.5)
    assert text in log, log
    return log


def test_runs_a_vm_without_privilege_and_shuts_it_down(
    image: str, container: str, target: Target, lun: Callable[..., Lun], vm_name: str, tmp_path: Path
) -> None:
    disk = lun(chap=True)
    spec = vms.vm(vm_name, [{"name": "root", "disk": {"bus": "virtio"}}], [vms.from_claim("root", "root")])
    vms.write(tmp_path / "vm.json", [spec, *vms.claim("root", target, disk)])
    tmp_path.chmod(0o755)
    mount = ("-v", f"{tmp_path / 'vm.json'}:/vm/vm.yaml:ro")

    docker("run", "-d", "--name", container, *RESTRICTED, *mount, image)
    wait_for("login:", container)
    joined = docker(
        *("exec", container, "sh", "-c"),
        "echo root | vm-disks console -f /vm/vm.yaml --force --until '# ' --timeout 30",
        timeout_s=60,
    ).stdout
    assert "# " in joined, "an exec can take the console over"
    docker("stop", "-t", "90", container, timeout_s=120)

    log = logs(container)
    assert "SIGTERM" in log
    assert "Power down" in log, "the guest heard the power button and obeyed"
    assert docker("inspect", "-f", "{{.State.ExitCode}}", container).stdout.strip() == "0"
    assert disk.password
    assert disk.password not in log


def test_runs_any_command_as_in_2017(image: str, container: str, target: Target, lun: Callable[..., Lun]) -> None:
    disk = lun()
    drive = f"file=iscsi://127.0.0.1:{target.port}/{disk.iqn}/1"
    qemu = ("qemu-system-x86_64", "-snapshot", "-nographic", "-drive", drive)

    # Attached: a log would hold the prompt back, for it is not a whole line.
    command = ["docker", "run", "--name", container, *RESTRICTED, image, *qemu]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as attached:
        assert isinstance(attached.stdout, io.BufferedReader)
        threading.Timer(240, attached.kill).start()
        seen = b""
        while b"login:" not in seen:
            data = attached.stdout.read1(4096)
            assert data, seen
            seen += data
        docker("kill", container)
