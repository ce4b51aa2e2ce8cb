"""The images of this project: built by Docker when their sources have changed, and copied to the node's containerd."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from cluster.components.build import Binaries
from cluster.components.containers import Containers
from cluster.errors import CommandFailed, Privilege
from cluster.machine import shell
from cluster.places import REPOSITORY, cache_home, exclusive
from cluster.progress import Progress

BASE = "debian:bookworm-slim"
DOCKERFILES = {
    "lundock/target": "target_image/Dockerfile",
    "lundock/provisioner": "provisioner/Dockerfile",
    "lundock/runner": "vm_disks/runner/Dockerfile",
}
VERSION = "0.1.0"
SOURCE_LABEL = "io.lundock.source"
"""The label with the digest of what an image was made from."""

REGISTRY = "https://registry-1.docker.io/v2/"
HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def build(image: str, progress: Progress, arguments: Mapping[str, str] | None = None) -> str:
    """Build one of our images unless it is there already, made from the same files. Tags: latest and the version.

    Several processes may call it at once: one builds, the others wait for it.

    Args:
        image: a key of DOCKERFILES.
        arguments: of the build (`--build-arg`).

    Returns:
        The image with its version tag.

    Raises:
        CommandFailed: with the end of the build's output.
    """
    words = [f"{name}={value}" for name, value in sorted((arguments or {}).items())]
    dockerfile, tagged = REPOSITORY / DOCKERFILES[image], f"{image}:{VERSION}"
    with exclusive("images.lock"):
        make_base_image(progress)
        fill_certificates()
        source = _source_digest(dockerfile, words)
        if _label(tagged) != source:
            progress(f"building {image}")
            options = [option for word in words for option in ("--build-arg", word)]
            options += ["--label", f"{SOURCE_LABEL}={source}", "--tag", tagged, "--file", str(dockerfile)]
            shell.run("docker", "build", *options, REPOSITORY, timeout_s=1800)
        shell.run("docker", "tag", tagged, f"{image}:latest")
    return tagged


def make_base_image(progress: Progress) -> None:
    """Have debian:bookworm-slim: pulled where a registry answers, else made by debootstrap from Debian's archive."""
    if _exists(BASE):
        return
    if _registry_answers():
        progress(f"pulling {BASE}")
        try:
            shell.run("docker", "pull", BASE, timeout_s=600)
            return
        except CommandFailed as refused:
            progress(f"{refused}; making it with debootstrap instead")
    archive = cache_home() / "debian-bookworm.tar"
    if not archive.exists():
        _debootstrap(archive, progress)
    shell.run("docker", "import", "--change", 'CMD ["bash"]', archive, BASE, timeout_s=300)


def fill_certificates() -> None:
    """Copy the host's extra certificate authorities to where the image builds look for them."""
    folder = REPOSITORY / "certificates"
    folder.mkdir(exist_ok=True)
    for certificate in HOST_CERTIFICATES.rglob("*.crt"):
        copy = folder / certificate.name
        if not copy.exists() or copy.read_bytes() != certificate.read_bytes():
            shutil.copyfile(certificate, copy)


def make_pause_image(binaries: Binaries) -> str:
    """Have an image of nothing but our `pause`, for pod sandboxes.

    Returns:
        Its name.
    """
    digest = hashlib.sha256(binaries.path("pause").read_bytes()).hexdigest()
    image = f"lundock/pause:{digest[:12]}"
    if not _exists(image):
        tar = ("tar", "-C", binaries.folder, "-c", "pause")
        shell.pipe(tar, ("docker", "import", "--change", 'ENTRYPOINT ["/pause"]', "-", image))
    return image


def load(containers: Containers, image: str) -> bool:
    """Copy an image from Docker to the node, unless the node has the same one.

    Returns:
        Whether it was copied.

    Raises:
        CommandFailed: Docker has no such image, or containerd refused it.
    """
    digest = shell.run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()
    present = containers.images()
    if present.get(full_name(image)) == digest:
        return False
    for name, its_digest in present.items():
        if its_digest == digest:
            containers.ctr("images", "tag", "--force", name, full_name(image))
            return True
    shell.pipe(("docker", "save", image), containers.ctr_command("images", "import", "--digests=false", "-"))
    return True


def full_name(image: str) -> str:
    """The name as containerd and kubelet write it: with registry, folder and tag."""
    first, slash, _rest = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def _label(image: str) -> str | None:
    form = f'{{{{index .Config.Labels "{SOURCE_LABEL}"}}}}'
    try:
        return shell.run("docker", "image", "inspect", "--format", form, image).strip()
    except CommandFailed:
        return None


def _exists(image: str) -> bool:
    return shell.succeeds("docker", "image", "inspect", image)


def _registry_answers() -> bool:
    try:
        requests.get(REGISTRY, timeout=5)
    except requests.RequestException:
        return False
    return True


def _debootstrap(archive: Path, progress: Progress) -> None:
    if not shell.succeeds("test", "-w", "/root"):
        raise Privilege(f"no registry answers, and making {BASE} with debootstrap needs root: run this as root once")
    progress(f"no registry answers: making {BASE} from Debian's archive with debootstrap (about 30 s)")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debootstrap-", dir=archive.parent) as scratch:
        root, unfinished = Path(scratch) / "root", Path(scratch) / "image.tar"
        shell.run("debootstrap", "--variant=minbase", "bookworm", root, timeout_s=900)
        left_out = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*")
        excludes = [f"--exclude={pattern}" for pattern in left_out]
        shell.run("tar", "-C", root, *excludes, "--numeric-owner", "-cf", unfinished, ".", timeout_s=300)
        unfinished.rename(archive)


def _source_digest(dockerfile: Path, arguments: list[str]) -> str:
    """A digest of all that makes an image: its Dockerfile, the files that it copies, the base image, the arguments."""
    digest = hashlib.sha256(" ".join(arguments).encode())
    digest.update(shell.run("docker", "image", "inspect", "--format", "{{.Id}}", BASE).encode())
    text = dockerfile.read_text(encoding="utf-8")
    digest.update(text.encode())
    for file in sorted(set(_files([REPOSITORY / path for path in copied_paths(text)]))):
        digest.update(f"{file.relative_to(REPOSITORY)} {file.stat().st_mode:o}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def copied_paths(dockerfile: str) -> list[str]:
    """What a Dockerfile copies from the build's context: the words of COPY but the last, where it names no stage."""
    found = re.findall(r"^COPY\s+(?!--from)(.+)$", dockerfile, re.MULTILINE)
    return [path for line in found for path in line.split()[:-1] if not path.startswith("--")]


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        entries = [path] if path.is_file() else path.rglob("*")
        yield from (entry for entry in entries if entry.is_file() and "__pycache__" not in entry.parts)
