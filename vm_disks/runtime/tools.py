"""The programs that a runtime needs: qemu-img and xorriso."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lundock_common import process
from vm_disks.errors import ToolError
from vm_disks.resolution.address import LunAddress
from vm_disks.resolution.chap import Credentials

TIMEOUT_S = 60.0
PACKAGES = {"qemu-img": "qemu-utils", "xorriso": "xorriso"}


def run(argv: Sequence[str], *, attempt: str, timeout_s: float = TIMEOUT_S) -> str:
    """Run a program to its end.

    Args:
        argv: the program and its arguments.
        attempt: what it is for, as in "Could not ATTEMPT".
        timeout_s: after so many seconds it is killed.

    Returns:
        Its standard output.

    Raises:
        ToolError: it is missing, ended badly or took too long.
    """
    try:
        return process.run(argv, timeout_s=timeout_s)
    except process.ProgramMissing as error:
        package = PACKAGES.get(argv[0], argv[0])
        raise ToolError(f"Could not {attempt}: {argv[0]} is not installed (Debian package {package}).") from error
    except process.ProgramFailed as error:
        raise ToolError(f"Could not {attempt}: {error}.") from error


def reads_iscsi() -> bool:
    """Whether this machine's QEMU has its iSCSI driver (on Debian a package of its own)."""
    text = run(["qemu-img", "--help"], attempt="ask QEMU for its drivers")
    return "iscsi" in text.partition("Supported formats:")[2].split()


def capacity_bytes(address: LunAddress, credentials: Credentials | None) -> int:
    """The LUN's size now, by logging in to it as QEMU would.

    The password goes through a file that only this user can read: command lines are public (proc(5)).

    Raises:
        ToolError: qemu-img is missing, or could not log in.
    """
    image = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": str(address.portals[0]),
        "target": address.iqn,
        "lun": str(address.lun),
    }
    if address.initiator_name:
        image["initiator-name"] = address.initiator_name
    with tempfile.TemporaryDirectory(prefix="vm-disks-") as directory:
        secret: list[str] = []
        if credentials is not None:
            password = Path(directory) / "password"
            password.touch(mode=0o600)
            password.write_text(credentials.password, encoding="utf-8")
            secret = ["--object", f"secret,id=chap,file={password}"]
            image |= {"user": credentials.username, "password-secret": "chap"}
        options = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in image.items())
        argv = ["qemu-img", "info", "--output=json", *secret, "--image-opts", options]
        answer = run(argv, attempt=f"log in to LUN {address.lun} of {address.iqn} at {address.portals[0]}")
    return int(json.loads(answer)["virtual-size"])


def make_iso(file: Path, label: str, contents: dict[str, bytes]) -> None:
    """Make an ISO 9660 image with Joliet and Rock Ridge names.

    Args:
        file: where to make it.
        label: the file system's.
        contents: what is in each file, by its path in the image.

    Raises:
        ToolError: xorriso is missing or failed.
    """
    with tempfile.TemporaryDirectory(prefix="vm-disks-") as directory:
        for path, data in contents.items():
            part = Path(directory) / path
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
        file.touch(mode=0o600)
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", label, "-o", os.fspath(file), directory]
        run(argv, attempt=f"make the seed {file}")


def make_qcow2(file: Path, size_bytes: int) -> None:
    """Make an empty qcow2 image, readable by its owner only.

    Raises:
        ToolError: qemu-img is missing or failed.
    """
    file.touch(mode=0o600)
    run(["qemu-img", "create", "-q", "-f", "qcow2", os.fspath(file), str(size_bytes)], attempt=f"make {file}")
