"""Files of this machine, and images of its Docker, for the guest: over HTTP from loopback, as large as they are."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guest.machine import HOST, Machine

_PRINT = "import shutil, sys, urllib.request as u; shutil.copyfileobj(u.urlopen(sys.argv[1]), sys.stdout.buffer)"


def send(guest: Machine, file: Path, into: str) -> None:
    """Give the file's bytes to a command of the guest, on its stdin."""
    with _served(file.parent) as url:
        guest.run(f"set -o pipefail; python3 -c '{_PRINT}' {url}/{file.name} | {into}", timeout_s=600)


def save(image: str, file: Path) -> Path:
    """An image of Docker as a tar that another engine can import."""
    subprocess.run(["docker", "save", "-o", file, image], check=True, timeout=120)
    return file


def unpack(image: str, file: Path) -> Path:
    """The files that a container of an image sees, as a tar."""
    container = subprocess.check_output(["docker", "create", image], text=True, timeout=60).strip()
    try:
        subprocess.run(["docker", "export", "-o", file, container], check=True, timeout=120)
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True, timeout=60)
    return file


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
