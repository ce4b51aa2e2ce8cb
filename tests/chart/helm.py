"""Helm as tests use it: render to documents, install into a cluster."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.components.build import build, is_built
from cluster.machine import shell

CHART = Path(__file__).parents[2] / "charts" / "lundock"
KUBERNETES = "1.34.2"

Document = dict[str, Any]


def binary() -> Path | None:
    """The Helm that was built with the embedded cluster, or the machine's own."""
    if is_built():
        return build().path("helm")
    found = shutil.which("helm")
    return Path(found) if found else None


@dataclass(frozen=True)
class Helm:
    """One release, in one namespace of one cluster; rendering needs no cluster."""

    binary: Path
    kubeconfig: Path | None = None
    release: str = "lundock"
    namespace: str = "lundock"

    def run(self, *arguments: str | Path, values: Document | None = None, timeout_s: float = 120) -> str:
        """Run a Helm command with values on its standard input.

        Raises:
            CommandFailed: it ended with an error or not in its time.
        """
        given = ["--values", "-"] if values is not None else []
        text = yaml.safe_dump(values) if values is not None else None
        environment = {"KUBECONFIG": str(self.kubeconfig or "/dev/null")}
        return shell.run(self.binary, *arguments, *given, stdin=text, timeout_s=timeout_s, environment=environment)

    def render(self, values: Document | None = None, kubernetes: str = KUBERNETES, *arguments: str) -> list[Document]:
        """What the chart makes of these values.

        Raises:
            CommandFailed: helm refuses them.
        """
        output = self.run(
            "template", self.release, CHART, "--namespace", self.namespace, "--kube-version", kubernetes, *arguments,
            values=values or {},
        )  # fmt: skip
        return [document for document in yaml.safe_load_all(output) if document]

    def install(self, values: Document | None = None, *arguments: str) -> str:
        where = ("--namespace", self.namespace, "--create-namespace")
        return self.run("upgrade", "--install", self.release, CHART, *where, *arguments, values=values or {})

    def uninstall(self) -> str:
        return self.run("uninstall", self.release, "--namespace", self.namespace, "--wait", timeout_s=180)


def of_kind(documents: list[Document], kind: str, name: str | None = None) -> list[Document]:
    return [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]


def one(documents: list[Document], kind: str, name: str | None = None) -> Document:
    """The only document of this kind (and name)."""
    (found,) = of_kind(documents, kind, name)
    return found
