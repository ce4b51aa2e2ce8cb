from __future__ import annotations

import subprocess
import sys

import pytest

LOGS = """
import structlog
import sys
from lundock_common import logs
logs.configure("info", as_json=sys.argv[1] == "json")
def fails(password):
    raise RuntimeError("a mistake")
try:
    fails("open-sesame")
except RuntimeError:
    structlog.get_logger().exception("it failed")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_in_the_log_shows_no_variables(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOGS, form], capture_output=True, text=True, timeout=60, check=True)
    assert "a mistake" in done.stderr
    assert "Warning" not in done.stderr
    assert "open-sesame" not in done.stderr
