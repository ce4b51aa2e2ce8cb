"""What `helm test` runs in a pod: a claim becomes a LUN that keeps what is written to it. Python's own library only."""

import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATTERN, LENGTH = "0x4c", "1M"


def get(path: str) -> dict[str, Any]:
    """One object of the API.

    Raises:
        HTTPError: urllib's; the API server refuses it.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    token = (ACCOUNT / "token").read_text(encoding="utf-8")
    request = urllib.request.Request(f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:  # noqa: S310 - always https
        document: dict[str, Any] = json.load(answer)
    return document


def bound_volume(namespace: str, claim: str, timeout_s: float) -> dict[str, Any]:
    """The PV of the claim once it is Bound; ends the test if that does not happen in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        if found["status"].get("phase") == "Bound":
            print(f"claim {namespace}/{claim} is Bound to {found['spec']['volumeName']}", flush=True)
            return get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
        if time.monotonic() > deadline:
            sys.exit(
                f"claim {namespace}/{claim} is {found['status'].get('phase')} after {timeout_s:.0f} s; "
                f"see: kubectl -n {namespace} describe pvc {claim}"
            )
        time.sleep(1)


def image_options(volume: dict[str, Any], initiator: str, password: Path) -> str:
    """QEMU's options for the PV's LUN; the CHAP password goes to a file."""
    iscsi = volume["spec"]["iscsi"]
    options = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": iscsi["targetPortal"],
        "target": iscsi["iqn"],
        "lun": str(iscsi["lun"]),
    }
    if initiator:
        options["initiator-name"] = initiator
    if "secretRef" in iscsi:
        reference = iscsi["secretRef"]
        secret = get(f"/api/v1/namespaces/{reference['namespace']}/secrets/{reference['name']}")
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        options["user"] = data["node.session.auth.username"].decode()
        options["password-secret"] = "chap"
        password.write_bytes(data["node.session.auth.password"])
    return "driver=raw," + ",".join(f"file.{key}={value.replace(',', ',,')}" for key, value in options.items())


def qemu_io(options: str, password: Path, *commands: str) -> None:
    """Run qemu-io's commands against the LUN, in one login of their own; ends the test if one fails."""
    secret = ["--object", f"secret,id=chap,file={password}"] if password.exists() else []
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", *secret, "--image-opts", options, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode != 0 or "failed" in done.stdout:
        sys.exit(f"qemu-io {'; '.join(commands)} failed on {options}")


def main() -> None:
    password = Path("/tmp/password")  # noqa: S108 - the pod's own emptyDir
    volume = bound_volume(os.environ["NAMESPACE"], os.environ["CLAIM"], timeout_s=180)
    options = image_options(volume, os.environ["INITIATOR"], password)
    qemu_io(options, password, f"write -P {PATTERN} 0 {LENGTH}", "flush")
    # A second login: what is read comes from the target.
    qemu_io(options, password, f"read -P {PATTERN} 0 {LENGTH}")
    print("the volume keeps what is written to it", flush=True)


if __name__ == "__main__":
    main()
