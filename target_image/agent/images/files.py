"""The files of images, by key: what is there of them, and what is left over.

<folder>/<key>.partial    what is there of a download
<folder>/<key>.work*      unpacked or half converted; deleted at start
<folder>/<key>.raw        ready: synced and renamed, so that nothing looks finished after a kill
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

from target_image.agent.durable import sync


class ImageFiles:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def raw(self, key: str) -> Path:
        return self.folder / f"{key}.raw"

    def partial(self, key: str) -> Path:
        return self.folder / f"{key}.partial"

    def work(self, key: str) -> Path:
        return self.folder / f"{key}.work"

    def output(self, key: str) -> Path:
        return self.folder / f"{key}.work-raw"

    def ready_bytes(self, key: str) -> int | None:
        """The size of the finished image, or None. One question, since the file may go at any moment."""
        try:
            return self.raw(key).stat().st_size
        except FileNotFoundError:
            return None

    def publish(self, key: str) -> None:
        """Give the finished output its name, durably."""
        sync(self.output(key))
        self.output(key).rename(self.raw(key))
        sync(self.folder)

    def remove(self, key: str) -> None:
        for path in self.folder.glob(f"{key}.*"):
            path.unlink(missing_ok=True)

    def sweep(self, known: AbstractSet[str]) -> list[str]:
        """At the start: delete what is half made, and all of images that have no name any more; gives their keys."""
        self.folder.mkdir(parents=True, exist_ok=True)
        forgotten = set()
        for path in self.folder.iterdir():
            if not path.is_file():
                continue
            key = path.name.partition(".")[0]
            if ".work" in path.name or key not in known:
                path.unlink()
            if key not in known:
                forgotten.add(key)
        return sorted(forgotten)
