"""A cluster of the user's, named on the command line: used through kubectl and helm, its images through a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.components import images
from cluster.errors import ClusterError
from cluster.machine import shell
from cluster.progress import Progress


class NamedClusterError(ClusterError):
    """What the user said of the cluster is not enough, or the cluster does not answer."""


@dataclass(frozen=True)
class NamedCluster:
    """Never an ambient cluster: at least one of the two is given."""

    kubeconfig: Path | None
    context: str | None
    registry: str

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 180) -> str:
        """Run the user's kubectl on this cluster and return its stdout.

        Raises:
            CommandFailed: with kubectl's message.
            ToolMissing: kubectl is not installed.
        """
        return shell.run("kubectl", *self._options("--context"), *arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str | Path, timeout_s: float = 600) -> str:
        """Run the user's helm on this cluster and return its stdout.

        Raises:
            CommandFailed: with helm's message.
            ToolMissing: helm is not installed.
        """
        return shell.run("helm", *self._options("--kube-context"), *arguments, timeout_s=timeout_s)

    def check(self) -> None:
        """Ask the API server whether it is ready.

        Raises:
            NamedClusterError: it does not answer.
        """
        if not shell.succeeds("kubectl", *self._options("--context"), "get", "--raw", "/readyz", timeout_s=30):
            raise NamedClusterError(
                "the cluster that you named does not answer: try `kubectl get --raw /readyz` with the same options"
            )

    def push(self, name: str, progress: Progress) -> str:
        """Build one of our images and push it to the registry.

        Returns:
            Its name there.
        """
        local = images.build(name, progress)
        remote = f"{self.registry.rstrip('/')}/{local}"
        shell.run("docker", "tag", local, remote)
        progress(f"pushing {remote}")
        shell.run("docker", "push", remote, timeout_s=1800)
        return remote

    def _options(self, context_option: str) -> list[str]:
        kubeconfig = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return [*kubeconfig, *([context_option, self.context] if self.context else [])]
