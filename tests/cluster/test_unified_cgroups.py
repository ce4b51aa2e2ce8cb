"""The node's lower half on cgroup v2, whatever the host has: containerd and kubelet run a pod in a Debian guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.components import images, node
from cluster.components.build import build
from cluster.components.containers import CGROUP
from cluster.machine import daemons, network, shell
from cluster.places import Places
from tests.capabilities import need
from tests.guest.machine import Machine, boot

pytestmark = [pytest.mark.guest, pytest.mark.cluster, pytest.mark.slow]

PLACES = Places(run=Path("/run/lundock-cluster"), data=Path("/var/lib/lundock-cluster"))

PRELUDE = """\
from pathlib import Path
from cluster.components import containers
from cluster.machine import network
from cluster.places import Places
from cluster.machine.processes import in_cgroup
places = Places(run=Path("/run/lundock-cluster"), data=Path("/var/lib/lundock-cluster"))
node = containers.Containers(places)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, str]]:
    """A guest with the node's programs, and the name of the one image that it needs."""
    need("qemu", "debootstrap", "root", "docker")
    daemons.start(daemons.DOCKER, print)
    folder = tmp_path_factory.mktemp("guest")
    binaries = build(print)
    pause = images.make_pause_image(binaries)
    shell.run("docker", "save", "--output", folder / "pause.tar", pause)
    extra = {
        "kube": binaries.folder / "kube",
        "pause.tar": folder / "pause.tar",
        **{f"cni/{plugin}": network.plugin_folder() / plugin for plugin in network.PLUGINS},
    }
    with boot(folder, extra) as machine:
        machine.run("mkdir -p /opt/cni && ln -s /srv/lundock/cni /opt/cni/bin && grep -q cgroup2 /proc/mounts")
        yield machine, images.full_name(pause)


def python(machine: Machine, program: str) -> str:
    return machine.run(f"python3 - <<'END'\n{PRELUDE}{program}\nEND", timeout_s=300).stdout


def test_a_pod_runs_below_our_cgroup_and_is_cleaned_away(machine: tuple[Machine, str]) -> None:
    guest, pause = machine
    configuration = {
        **node.kubelet_configuration(PLACES),
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "staticPodPath": "/run/pods",
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "still"},
        "spec": {"containers": [{"name": "still", "image": pause, "imagePullPolicy": "Never"}]},
    }
    python(
        guest,
        f"network.set_up(); node.start({pause!r}); node.ctr('images', 'import', '/srv/lundock/pause.tar')\n"
        "containers.make_cgroup()",
    )
    guest.run(f"mkdir /run/pods && touch {PLACES.run}/resolv.conf")
    guest.write("/run/pods/still.json", json.dumps(pod))
    guest.write("/run/kubelet.json", json.dumps(configuration))
    kubelet = ["/srv/lundock/kube", "kubelet", "--config=/run/kubelet.json", f"--root-dir={PLACES.kubelet}"]
    guest.start(*kubelet, "--hostname-override=guest", name="kubelet")
    two_running = "test $(ctr -a /run/lundock-cluster/containerd.sock -n k8s.io tasks list | grep -c RUNNING) = 2"
    guest.until(two_running, timeout_s=240)

    assert int(python(guest, f"print(len(in_cgroup({CGROUP!r})))")) == 2
    limited = guest.run(f"cat /sys/fs/cgroup/{CGROUP}/kubepods/cgroup.controllers").stdout.split()
    assert {"cpu", "memory", "pids"} <= set(limited)

    guest.run("kill -9 $(cat /tmp/kubelet.pid)")
    python(guest, "node.clean(); network.tear_down()")
    assert int(python(guest, f"print(len(in_cgroup({CGROUP!r})))")) == 0
    guest.run(f"test ! -e /sys/fs/cgroup/{CGROUP}")
    assert str(PLACES.data) not in guest.run("cat /proc/mounts").stdout
