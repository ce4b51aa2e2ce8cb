"""`./demo`: from nothing to the login prompt of a VM whose disk is named only as a claim.

Every line that it prints is either what it is about to do or what it saw. Nothing is assumed to have worked: a claim is
Bound, a volume is gone, a console says `login:` only after a look at it.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import click

from cluster import embedded
from cluster.background_build import BackgroundBuild
from cluster.components import images
from cluster.demo_target import DemoTarget
from cluster.errors import ClusterError, NotReady
from cluster.external import NamedCluster, NamedClusterError
from cluster.machine import daemons, shell
from cluster.machine.waiting import wait_for
from cluster.places import REPOSITORY
from cluster.terminal import follow, heading, indented, say

MANIFESTS = REPOSITORY / "manifests"
RELEASE, NAMESPACE = "lundock", "lundock"
CLAIM, VM, RUNNER = "vm-disk", "vm", "lundock/runner:latest"
LOGIN_TIMEOUT_S = 300


class Kubernetes(Protocol):
    """What the steps need of a cluster: the embedded one and a named one both have it."""

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 180) -> str: ...

    def helm(self, *arguments: str | Path, timeout_s: float = 600) -> str: ...


def show_target(target: DemoTarget) -> None:
    heading("2", "The target: an ordinary container serves iSCSI, with no privilege and no capability")
    images.build("lundock/target", say)
    say(f"  $ {target.command}")
    target.start()
    say(f"  $ iscsi-ls -s {target.url}")
    indented(target.luns())
    say("  Booting LUN 2 straight from it, with the command of 2017:")
    argv = target.qemu_command(lun=2)
    say(f"  $ {' '.join(argv)}")
    follow(argv, until="login:", timeout_s=LOGIN_TIMEOUT_S)


def install(kubernetes: Kubernetes, values: list[str]) -> None:
    heading("4", "helm install: target and provisioner as restricted pods, a StorageClass")
    settings = [word for value in values for word in ("--set", value)]
    command = ["upgrade", "--install", RELEASE, "charts/lundock", "-n", NAMESPACE, "--create-namespace", *settings]
    say(f"  $ helm {' '.join(command)}")
    command[3] = str(REPOSITORY / "charts" / "lundock")
    kubernetes.helm(*command, "--wait", "--timeout", "5m")
    indented(kubernetes.kubectl("-n", NAMESPACE, "get", "pods,storageclasses"))


def claim_a_disk(kubernetes: Kubernetes) -> None:
    heading("5", "A claim: StorageClass lundock, with the image `demo` as its source")
    say("  $ kubectl apply -f manifests/claim.yaml")
    kubernetes.kubectl("apply", "-f", MANIFESTS / "claim.yaml")
    started_s = time.monotonic()
    kubernetes.kubectl("wait", f"pvc/{CLAIM}", "--for=jsonpath={.status.phase}=Bound", "--timeout=120s")
    say(f"  Bound after {time.monotonic() - started_s:.1f} s, to this PersistentVolume:")
    volume = json.loads(kubernetes.kubectl("get", "pv", _volume(kubernetes), "-o", "json"))
    indented(json.dumps({"name": volume["metadata"]["name"], "iscsi": volume["spec"]["iscsi"]}, indent=2))
    secret = volume["spec"]["iscsi"]["secretRef"]["name"]
    indented(kubernetes.kubectl("get", "secret", secret, "-o", "custom-columns=CHAP SECRET:.metadata.name,TYPE:.type"))


def run_as_domain(kubeconfig: Path) -> None:
    heading("6", "The VM: its spec names only the claim, and its own QEMU logs in to the LUN")
    arguments = ["-f", "manifests/vm.yaml", "--kubeconfig", str(kubeconfig)]
    stop_domain(kubeconfig)  # of an earlier run with --keep
    say("  The disk, as libvirt gets it:")
    indented(vm_disks("xml", *arguments))
    say(f"  $ vm-disks start {' '.join(arguments)} --until login:")
    argv = [sys.executable, "-m", "vm_disks", "start", *arguments, "--until", "login:"]
    follow(
        [*argv, "--timeout", str(LOGIN_TIMEOUT_S)],
        until="login:",
        timeout_s=LOGIN_TIMEOUT_S + 30,
        cwd=REPOSITORY,
        ends_itself=True,
    )


def stop_domain(kubeconfig: Path) -> None:
    """Shut the VM down; one that does not run, or not any more, is fine."""
    vm_disks("stop", "-f", "manifests/vm.yaml", "--kubeconfig", str(kubeconfig))


def run_as_pod(kubernetes: Kubernetes, image: str) -> None:
    heading(
        "6b", "The same VM as an unprivileged pod of the cluster, with a service account that reads only what it needs:"
    )
    say("  $ kubectl apply -f manifests/vm-pod.yaml; kubectl logs -f vm")
    manifest = (MANIFESTS / "vm-pod.yaml").read_text(encoding="utf-8")
    kubernetes.kubectl("apply", "-f", "-", stdin=manifest.replace("image: lundock/runner\n", f"image: {image}\n"))
    console = ""

    def has_login() -> bool:
        nonlocal console
        status = json.loads(kubernetes.kubectl("get", "pod", VM, "-o", "json"))["status"]
        if status.get("phase") == "Pending":
            return False
        console = kubernetes.kubectl("logs", VM)
        if "login:" not in console and status.get("phase") in ("Failed", "Succeeded"):
            raise NotReady(f"the pod ended before a login prompt; its log:\n{console[-2000:]}")
        return "login:" in console

    if not wait_for(has_login, LOGIN_TIMEOUT_S):
        raise NotReady(f"no login prompt in the pod's log after {LOGIN_TIMEOUT_S} s; its end:\n{console[-2000:]}")
    indented("\n".join(console.splitlines()[-6:]))


def delete_all(kubernetes: Kubernetes) -> None:
    heading("7", "Delete the VM and the claim: the volume on the target goes with them")
    name = _volume(kubernetes)
    kubernetes.kubectl("delete", "-f", MANIFESTS / "vm-pod.yaml", "--ignore-not-found", "--timeout=150s")
    say("  $ kubectl delete -f manifests/claim.yaml")
    kubernetes.kubectl("delete", "-f", MANIFESTS / "claim.yaml", "--timeout=120s")

    def is_gone() -> bool:
        return not kubernetes.kubectl("get", "pv", name, "--ignore-not-found") and name not in _volumes(kubernetes)

    if not wait_for(is_gone, timeout_s=120):
        raise NotReady(f"volume {name} is still on the target 120 s after its claim was deleted")
    say("  $ kubectl exec lundock-target-0 -- lundock-target volumes list")
    indented(_volumes(kubernetes) or "(no volumes)")


def vm_disks(*arguments: str) -> str:
    return shell.run(sys.executable, "-m", "vm_disks", *arguments, directory=REPOSITORY, timeout_s=180)


def _volume(kubernetes: Kubernetes) -> str:
    return kubernetes.kubectl("get", "pvc", CLAIM, "-o", "jsonpath={.spec.volumeName}").strip()


def _volumes(kubernetes: Kubernetes) -> str:
    """The target's own list of its volumes."""
    return kubernetes.kubectl("-n", NAMESPACE, "exec", f"{RELEASE}-target-0", "--", "lundock-target", "volumes", "list")


def embedded_walk(stack: ExitStack, keep: bool) -> None:
    """The whole way on this machine alone."""
    daemons.start(daemons.LIBVIRT, say)
    building = BackgroundBuild()
    target = DemoTarget.on_free_ports()
    stack.callback(target.stop)
    show_target(target)
    heading("3", "Kubernetes: the real components, on this machine")
    for image in embedded.IMAGES:
        images.build(image, say)
    building.wait()
    cluster = stack.enter_context(embedded.lease(say))
    for image in (f"lundock/target:{images.VERSION}", f"lundock/provisioner:{images.VERSION}", RUNNER):
        cluster.load(image, say)
    indented(cluster.kubectl("get", "nodes", "-o", "wide"))
    install(cluster, ["target.persistence.enabled=false"])
    claim_a_disk(cluster)
    stack.callback(stop_domain, cluster.kubeconfig)
    run_as_domain(cluster.kubeconfig)
    if keep:
        cluster.keep()
        stack.pop_all()
        explain(cluster, target)
        return
    say(f"  $ vm-disks stop -f manifests/vm.yaml --kubeconfig {cluster.kubeconfig}")
    stop_domain(cluster.kubeconfig)
    run_as_pod(cluster, RUNNER)
    delete_all(cluster)


def named_walk(cluster: NamedCluster, keep: bool) -> None:
    """On a cluster of the user's: its nodes get the images from a registry, and the VM runs as a pod."""
    cluster.check()
    runner, *_others = [cluster.push(image, say) for image in reversed(embedded.IMAGES)]
    install(cluster, ["target.persistence.enabled=false", f"imageRegistry={cluster.registry.rstrip('/')}"])
    claim_a_disk(cluster)
    run_as_pod(cluster, runner)
    if keep:
        say(
            f"\nAll of it stays. To remove it: `kubectl delete -f manifests/vm-pod.yaml -f manifests/claim.yaml`, then "
            f"`helm uninstall {RELEASE} -n {NAMESPACE}`."
        )
        return
    delete_all(cluster)
    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def explain(cluster: embedded.Cluster, target: DemoTarget) -> None:
    heading("✓", "All of it stays up (--keep)")
    say(f"""  export KUBECONFIG={cluster.kubeconfig} PATH={Path(sys.executable).parent}:{cluster.binaries.folder}:$PATH
  kubectl get pvc,pv                         the claim and its volume
  vm-disks console -f manifests/vm.yaml      join the VM's console (root, no password; Ctrl-] leaves)
  vm-disks stop -f manifests/vm.yaml         shut it down
  {" ".join(target.qemu_command(lun=2))}
  ./demo --stop                              stop all of it""")


def stop_all() -> None:
    """Stop what an earlier run left running, whatever state it is in."""
    cluster = embedded.existing()
    if daemons.LIBVIRT[-1].answers() and cluster.is_up():
        stop_domain(cluster.kubeconfig)
    if daemons.DOCKER[0].answers():
        DemoTarget().stop()
    cluster.down()
    daemons.stop(say)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave everything up, and say how to use it and how to stop it.")
@click.option("--stop", is_flag=True, help="Stop what a run with --keep left up.")
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A cluster to use.")
@click.option("--context", help="The kubeconfig context to use. Without these two: an embedded cluster of our own.")
@click.option("--registry", help="With a cluster of yours: where its nodes pull images from; you can push to it.")
def main(keep: bool, stop: bool, kubeconfig: Path | None, context: str | None, registry: str | None) -> None:
    """Go from nothing to the login prompt of a VM whose disk is named only as a claim.

    It installs what is missing (and says so first), builds the images and a real one-node Kubernetes (once, a
    quarter of an hour on two cores), and cleans up behind itself.
    """
    if (kubeconfig or context) and not registry:
        raise NamedClusterError(
            "a cluster of yours pulls the images from a registry: name one with --registry HOST/PATH"
        )
    if registry and not (kubeconfig or context):
        raise NamedClusterError("--registry goes with --kubeconfig or --context; the embedded cluster needs none")
    started_s = time.monotonic()
    if stop:
        stop_all()
        return
    with ExitStack() as stack:
        stack.callback(daemons.stop, say)
        daemons.start(daemons.DOCKER, say)
        if registry:
            named_walk(NamedCluster(kubeconfig, context, registry), keep)
        else:
            embedded_walk(stack, keep)
    minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
    heading("✓", f"A VM booted from a claim. {minutes} min {seconds} s.")


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(f"error: {error}")
