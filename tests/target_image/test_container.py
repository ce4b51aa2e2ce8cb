"""The container as people run it: unprivileged, from its image, by Docker."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_docker.plugin import Services

from cluster.components import images
from cluster.machine.ports import free_ports
from cluster.places import REPOSITORY
from lundock_common.quantity import GIB, MIB
from tests.capabilities import compose, need
from tests.docker import docker, logs
from tests.target_image.console import boot_to_login
from tests.target_image.initiator import Login, Session, discover, inquiry, size_bytes
from tests.waiting import eventually

pytestmark = pytest.mark.integration

IQN = "iqn.2017-01.io.kubevirt:sn.42"
CONFINED = ["--read-only", "--tmpfs", "/run/lundock", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
OFFLINE = ["-e", f"IMAGES=http://127.0.0.1:1/gone.img#sha256:{'0' * 64}"]
"""One image that can never be had, so that no test depends on a download."""
START_TIMEOUT_S = 90.0


@pytest.fixture(scope="session")
def image() -> str:
    need("docker", "root")
    return images.build("lundock/target", print)


@dataclass(frozen=True)
class Container:
    """Published on loopback."""

    name: str

    def port(self, port: int) -> int:
        return int(docker("port", self.name, str(port)).stdout.split()[0].rpartition(":")[2])

    @property
    def login(self) -> Login:
        return Login(f"127.0.0.1:{self.port(3260)}", IQN)

    def logs(self) -> str:
        return logs(self.name)

    def inspect(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.name).stdout)
        return found[0]

    def serves(self) -> Container:
        eventually(lambda: "Lundock serves" in self.logs() or not self.running(), "it is served", START_TIMEOUT_S)
        assert self.running(), self.logs()
        return self

    def running(self) -> bool:
        return bool(self.inspect()["State"]["Running"])

    def exec(self, *argv: str) -> str:
        return docker("exec", self.name, *argv).stdout

    def remove(self) -> None:
        docker("rm", "-fv", self.name, check=False)


Run = Callable[..., Container]


@pytest.fixture
def run(image: str) -> Iterator[Run]:
    containers: list[Container] = []

    def start(*options: str, command: tuple[str, ...] = ()) -> Container:
        container = Container(f"lundock-test-{uuid.uuid4().hex[:8]}")
        containers.append(container)
        ports = ("-p", "127.0.0.1::3260", "-p", "127.0.0.1::8080")
        docker("run", "-d", "--name", container.name, *ports, *options, image, *command)
        return container

    yield start
    for container in containers:
        container.remove()


@pytest.fixture(scope="session")
def docker_compose_command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """pytest-docker's, with what the compose file asks for."""
    need("compose")
    port = free_ports()
    environment = {
        "ISCSI_PORT": f"127.0.0.1:{port}",
        "PAGE_PORT": "127.0.0.1:",
        "PORTAL": f"127.0.0.1:{port}",
        "IMAGES": OFFLINE[1].partition("=")[2],
    }
    file = tmp_path_factory.mktemp("compose") / "environment"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    return f"{compose()} --env-file {file}"


@pytest.fixture(scope="session")
def docker_compose_file(image: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """pytest-docker's: the file that is shipped, with this checkout's image, and IPv6, which Docker switches off."""
    changes = {"image": image, "sysctls": {"net.ipv6.conf.all.disable_ipv6": "0"}}
    file = tmp_path_factory.mktemp("compose") / "changes.yaml"
    file.write_text(json.dumps({"services": {"target": changes}}))
    return [str(REPOSITORY / "target_image" / "docker-compose.yaml"), str(file)]


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """pytest-docker's: the image is there already, made from the same files."""
    return ["up --detach --no-build"]


@pytest.fixture(scope="session")
def confined(docker_services: Services, docker_compose_project_name: str) -> Container:
    """The target of docker-compose.yaml, shared by the tests that only look at it."""
    label = f"label=com.docker.compose.project={docker_compose_project_name}"
    [name] = docker("ps", "--all", "--quiet", "--filter", label).stdout.split()
    container = Container(name).serves()
    assert docker_services.port_for("target", 3260) == container.port(3260)
    return container


def test_it_serves_four_luns_without_any_privilege(confined: Container) -> None:
    container = confined
    assert discover(container.login.portal) == {IQN}
    assert [size_bytes(container.login, lun) for lun in (1, 2, 4)] == [GIB, 64 * MIB, 64 * MIB]
    assert "Product:STAND-IN" in inquiry(container.login, 2)
    assert "STAND-IN" in container.logs()
    status = container.exec("cat", "/proc/1/status")
    assert "Uid:\t65532\t65532\t65532\t65532" in status
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{kind}:\t0000000000000000" in status
    told = container.exec("lundock-target", "images", "list", "-o", "json")
    assert [image["stand_in"] for image in json.loads(told) if image["name"].startswith("image-")] == [True]


def test_the_commands_that_it_prints_work_as_they_are(confined: Container) -> None:
    need("qemu", "qemu-iscsi", "iscsi-ls", "virt-xml-validate")
    lines = [line.strip() for line in confined.logs().splitlines()]
    commands = {line.split()[0]: shlex.split(line) for line in lines if "iscsi" in line and not line.startswith("LUN")}
    assert f"Target:{IQN}" in subprocess.run(commands["iscsi-ls"], capture_output=True, text=True, check=True).stdout
    console = boot_to_login(commands["qemu-system-x86_64"])  # the command of 2017
    assert "booted from this one" in console
    virsh = ["virsh", "-c", "test:///default", *(word.replace("VM", "test") for word in commands["virsh"][1:])]
    told = subprocess.run([*virsh, "--print-xml"], capture_output=True, text=True, timeout=60, check=True).stdout
    host, _, port = confined.login.portal.rpartition(":")
    assert f"<host name='{host}' port='{port}'/>" in told
    assert commands["iscsiadm"][-2:] == ["--portal", confined.login.portal]  # the guest's tests have an iscsiadm


def test_docker_stop_ends_it_cleanly_and_in_time_and_its_data_goes_with_it(run: Run) -> None:
    container = run(*OFFLINE).serves()
    with Session(container.login, 1) as session:
        session.write(0, 4096, pattern=0x5A)
        docker("stop", "--time", "5", container.name)  # Docker kills what takes longer: exit code 137
    assert container.inspect()["State"]["ExitCode"] == 0
    [mount] = container.inspect()["Mounts"]
    assert (mount["Type"], mount["Destination"]) == ("volume", "/var/lib/lundock")
    container.remove()
    assert docker("volume", "inspect", mount["Name"], check=False).returncode != 0


def test_docker_calls_it_healthy(confined: Container) -> None:
    eventually(lambda: confined.inspect()["State"]["Health"]["Status"] == "healthy", "healthy", START_TIMEOUT_S)


def test_a_mistake_in_the_environment_is_told_plainly(run: Run) -> None:
    container = run("-e", "SIZE=huge")
    eventually(lambda: not container.running(), "it has ended", START_TIMEOUT_S)
    assert container.inspect()["State"]["ExitCode"] != 0
    assert container.logs().endswith("error: SIZE='huge' is no size: write it like 1G, 1Gi or 512M\n")
    assert "Traceback" not in container.logs()


def test_data_in_a_volume_outlives_the_container(run: Run) -> None:
    volume = f"lundock-test-{uuid.uuid4().hex[:8]}"
    mounted = ["-v", f"{volume}:/var/lib/lundock", *CONFINED, *OFFLINE]
    try:
        first = run(*mounted).serves()
        with Session(first.login, 1) as session:
            session.write(0, 4096, pattern=0x5A)
        serial = inquiry(first.login, 1, page=0x80)
        first.remove()
        second = run(*mounted).serves()
        with Session(second.login, 1) as session:
            session.read(0, 4096, pattern=0x5A)
        assert inquiry(second.login, 1, page=0x80) == serial
        second.remove()
    finally:
        docker("volume", "rm", "-f", volume)


def test_a_file_of_the_host_that_may_not_be_written(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("a.img", 0o666), ("b.img", 0o444)):
        (tmp_path / name).write_bytes(bytes(MIB))
        (tmp_path / name).chmod(mode)
    container = run(*OFFLINE, "-v", f"{tmp_path}:/disks", "-e", "EXPORT_HOST_PATHS=/disks/*.img").serves()
    with Session(container.login, 5) as session:
        session.write(0, 4096, pattern=0x5A)
    assert (tmp_path / "a.img").read_bytes()[:4096] == b"\x5a" * 4096
    assert "WARNING: /disks/b.img is READ-ONLY" in container.logs()
    with Session(container.login, 6, read_only=True) as session:
        session.read(0, 4096, pattern=0)


def test_ipv6_portals(confined: Container) -> None:
    connect = "import socket; print(socket.create_connection(('::1', 3260), 5).getpeername()[0])"
    assert confined.exec("python3", "-c", connect).strip() == "::1"


def test_the_image_says_what_it_carries(image: str) -> None:
    carried = docker("run", "--rm", "--entrypoint", "cat", image, "/usr/share/doc/lundock/CARRIED").stdout
    for package in ("linux-image-", "busybox-static ", "syslinux ", "tgt ", "qemu-utils ", "fastapi "):
        assert f"\n{package}" in carried
    for name in ("tgt", "qemu-utils"):
        path = f"/usr/share/doc/{name}/copyright"
        assert "GPL" in docker("run", "--rm", "--entrypoint", "cat", image, path).stdout
    labels = json.loads(docker("inspect", image).stdout)[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "Lundock target"


def test_no_certificate_of_the_build_host_stays(image: str) -> None:
    script = "ls /usr/local/share/ca-certificates | wc -l"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", script).stdout.strip() == "0"


def test_it_stays_small(image: str) -> None:
    """README.md states 121 MB on top of the base; the Perl of a whole tgt package, say, is 50 more."""
    own, base = (json.loads(docker("inspect", name).stdout)[0]["Size"] for name in (image, images.BASE))
    assert own - base < 140 * 10**6
