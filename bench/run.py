"""Runs benchmarks by name, with the daemons and the image that they need, and writes the page."""

from __future__ import annotations

import subprocess
import sys

from bench import page
from cluster import daemons, images
from cluster.build import build
from cluster.terminal import heading, say

NAMES = ("datapath", "clone", "start", "scale", "resolve", "provision")


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    daemons.start(daemons.DOCKER, say)
    failed = []
    try:
        images.build("lundock/target", say)
        build(say)
        for name in names or NAMES:
            heading("•", name)
            if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
                failed.append(name)
    finally:
        daemons.stop(say)
    page.write()
    for name in failed:
        say(f"failed: {name}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
