"""What record.py took down of earlier agents: their answers and their ledgers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDERS = tuple(sorted(path.parent for path in (Path(__file__).parents[1] / "data").glob("*/answers.json")))
DATA_DIR = "/var/lib/lundock"
DISKS_DIR = "/srv/disks"


@dataclass(frozen=True)
class Answer:
    """One request and what it was answered."""

    method: str
    path: str
    sent: Any
    status: int
    headers: dict[str, str]
    content: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


@cache
def answers(folder: Path) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            method=each["request"]["method"],
            path=each["request"]["path"],
            sent=each["request"]["content"],
            status=each["status"],
            headers=each["headers"],
            content=each["content"],
        )
        for each in json.loads((folder / "answers.json").read_text())
    )


def answered(folder: Path, path: str) -> Any:
    """The content of the last answer to a GET of this path."""
    return [answer.content for answer in answers(folder) if (answer.method, answer.path) == ("GET", path)][-1]


def write_ledger(folder: Path, path: Path, disks_dir: Path | None = None) -> None:
    """The recorded ledger as a file. `disks_dir` is where the host's files are, if they are to be served."""
    script = (folder / "ledger.sql").read_text()
    if disks_dir is not None:
        script = script.replace(DISKS_DIR, str(disks_dir))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
