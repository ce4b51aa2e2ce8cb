"""Where the embedded cluster keeps its files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
"""This package's folder, with go.mod and the Go commands."""

REPOSITORY = SOURCE.parent


def cache_home() -> Path:
    """The folder that survives from run to run: ($XDG_CACHE_HOME or ~/.cache)/lundock."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lundock"


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock of this name, which all processes of this user's cache share."""
    cache_home().mkdir(parents=True, exist_ok=True)
    with (cache_home() / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file or nothing, and leave one that says the same alone: kube-proxy ends when its file changes."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(file)


@dataclass(frozen=True)
class Places:
    """One cluster's folders. `run` exists as long as the cluster is meant to; a reboot may empty it."""

    run: Path
    """State, certificates, kubeconfig, sockets and logs. Sockets' paths are limited to 107 bytes: keep it short."""
    data: Path
    """What is large: etcd's data, kubelet's volumes, containerd's images. Only the images outlive `down`."""

    @classmethod
    def default(cls) -> Places:
        """The one cluster with a node that a machine can have."""
        runtime = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR") or cache_home() / "run")
        return cls(run=runtime / "lundock-cluster", data=cache_home() / "cluster")

    @property
    def kubeconfig(self) -> Path:
        return self.run / "admin.kubeconfig"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def certificates(self) -> Path:
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def etcd(self) -> Path:
        return self.data / "etcd"

    @property
    def kubelet(self) -> Path:
        return self.data / "kubelet"

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    @property
    def containerd(self) -> Path:
        return self.data / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"
