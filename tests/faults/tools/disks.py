"""Writes to a LUN with QEMU's own initiator, and remembers what was acknowledged."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Disk:
    """A LUN as QEMU reaches it."""

    portal: str
    iqn: str
    user: str = ""
    password: str = field(default="", repr=False)

    def qemu_io(self, *commands: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run qemu-io's commands on it. The password goes by a file, as a runtime would give it."""
        where = {"driver": "iscsi", "transport": "tcp", "portal": self.portal, "target": self.iqn, "lun": "1"}
        options = ",".join(["driver=raw", *(f"file.{key}={value}" for key, value in where.items())])
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write(self.password)
            secret.flush()
            argv = ["qemu-io"]
            if self.user:
                argv += ["--object", f"secret,id=chap,file={secret.name}"]
                options += f",file.user={self.user},file.password-secret=chap"
            for command in commands:
                argv += ["-c", command]
            argv += ["--image-opts", options]
            return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)


@dataclass
class Written:
    """What was written to a disk, block by block; the pattern is a byte."""

    acknowledged: dict[int, int] = field(default_factory=dict)
    """Block number to pattern, of writes whose flush was answered."""
    uncertain: dict[int, set[int]] = field(default_factory=dict)
    """Blocks of a write that was not answered: it may have happened or not."""

    def write(self, disk: Disk, block: int, pattern: int, timeout_s: float = 60) -> bool:
        """Write one block and flush. Returns whether both were acknowledged."""
        offset = block * BLOCK_BYTES
        self.uncertain.setdefault(block, set()).add(pattern)
        try:
            done = disk.qemu_io(f"write -P {pattern} {offset} {BLOCK_BYTES}", "flush", timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if done.returncode != 0 or "failed" in done.stdout + done.stderr:
            return False
        self.acknowledged[block] = pattern
        self.uncertain[block] = set()
        return True

    def verify(self, disk: Disk) -> None:
        """Fails where a block is neither what was acknowledged nor what was written without an answer."""
        for block, pattern in self.acknowledged.items():
            allowed = {pattern, *self.uncertain.get(block, ())}
            assert any(self._reads(disk, block, each) for each in allowed), (
                f"block {block} of {disk.iqn} is none of {sorted(allowed)}: an acknowledged write is lost"
            )

    @staticmethod
    def _reads(disk: Disk, block: int, pattern: int) -> bool:
        done = disk.qemu_io(f"read -P {pattern} {block * BLOCK_BYTES} {BLOCK_BYTES}")
        return done.returncode == 0 and "Pattern verification failed" not in done.stdout


def read_file(path: Path, block: int) -> bytes:
    """One block of a backing file, without any target."""
    with path.open("rb") as file:
        file.seek(block * BLOCK_BYTES)
        return file.read(BLOCK_BYTES)
