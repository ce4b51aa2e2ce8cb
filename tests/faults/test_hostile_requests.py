"""Ten thousand requests that schemathesis thinks up, one seed after the other. A short form is in test_api.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from target_image.api.requests import VolumeSpec
from tests.faults.test_storage import MIB, export
from tests.faults.tools.disks import Written
from tests.provisioner.stage import TargetProcess
from tests.target_image.http.test_api import CHECKS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]

WANTED = int(os.environ.get("LUNDOCK_FAULT_REQUESTS", "10000"))
COUNT = re.compile(r'^lundock_target_request_seconds_count{.*status="(\d+)"} (\S+)$', re.MULTILINE)


def answered(target: TargetProcess) -> dict[int, int]:
    """How many answers of each status the agent has given, by its own metrics."""
    text = requests.get(f"http://127.0.0.1:{target.api_port + 2}/metrics", timeout=30).text
    found: dict[int, int] = {}
    for status, count in COUNT.findall(text):
        found[int(status)] = found.get(int(status), 0) + int(float(count))
    return found


def test_ten_thousand_requests(target: TargetProcess, tmp_path: Path) -> None:
    """No answer is a 500, each is one that the schema describes, and a volume in use is not harmed."""
    target.client.ensure_volume("used", VolumeSpec(size_bytes=MIB))
    disk, written = export(target, "used"), Written()
    assert written.write(disk, 0, 0x7A)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{target.url}/openapi.json"]
    for seed in range(1, 200):
        done = subprocess.run(
            [
                *(*command, "--url", target.url, "--checks", ",".join(set(CHECKS) - {"ignored_auth"})),
                *("--max-examples", "50", "--seed", str(seed), "--no-color", "--workers", "2"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"seed {seed}: {done.stdout[-8000:]} {target.tail()}"
        if sum(answered(target).values()) >= WANTED:
            break
    found = answered(target)
    print(found)
    assert sum(found.values()) >= WANTED
    assert 500 not in found
    assert target.running is not None
    assert target.running.poll() is None
    written.verify(disk)
