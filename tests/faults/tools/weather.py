"""Bad weather for a process: its disk is slow, or its clock jumps (see weather.c)."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.capabilities import need
from tests.provisioner.stage import Process

SOURCE = Path(__file__).with_name("weather.c")


class Weather:
    """Of one process and its children; it may change while they run. Give it before the process starts."""

    def __init__(self, folder: Path, process: Process, *, slow_path: str = "") -> None:
        need("gcc")
        library = folder / "weather.so"
        if not library.exists():
            argv = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
            subprocess.run(argv, check=True, capture_output=True, timeout=60)
        self._file = folder / f"{process.log.stem}.weather"
        self._now = [0, 0]
        self._write()
        process.environment |= {
            "LD_PRELOAD": str(library),
            "LUNDOCK_WEATHER": str(self._file),
            "LUNDOCK_WEATHER_PATH": slow_path,
        }

    def set_clock_ahead(self, seconds: int) -> None:
        """Set the clock of the process ahead of the machine's; behind where it is negative."""
        self._now[0] = seconds
        self._write()

    def delay_disk(self, seconds: float) -> None:
        """Delay each read, write and sync of a file whose path contains `slow_path`; a smaller value ends a wait."""
        self._now[1] = int(seconds * 1e6)
        self._write()

    def _write(self) -> None:
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=qq", *self._now))
