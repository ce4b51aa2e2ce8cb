"""`python -m target_image.agent.images.bundle FOLDER NAME...` fetches catalogue images when the container is built.

Each lies in FOLDER under its digest, as it was downloaded; `images` takes it from there instead of a URL.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from target_image.agent.errors import AgentError
from target_image.agent.images import catalogue, download
from target_image.agent.images.allowlist import Everywhere
from target_image.agent.settings import Settings


def bundle(folder: Path, names: Sequence[str], known: Mapping[str, catalogue.Entry]) -> None:
    """Fetch these images of the catalogue into the folder.

    Raises:
        SettingsError: the catalogue has no image of a name.
        ImageFailed: an image cannot be had.
    """
    settings = Settings()
    limits = download.Limits(settings.image_max_bytes, settings.image_timeout_s, Everywhere())
    for name in names:
        spec = catalogue.find(known, name).spec
        partial = folder / "partial"
        download.fetch(spec.urls, spec.digest, partial, limits, _ignore, lambda: False)
        partial.rename(folder / spec.digest.replace(":", "-"))
        print(f"{name}: {spec.digest}")


def _ignore(_done: int, _total: int) -> None:
    """Docker's build log is no place for a progress bar."""


if __name__ == "__main__":
    try:
        bundle(Path(sys.argv[1]), sys.argv[2:], catalogue.load())
    except AgentError as error:
        raise SystemExit(f"bundle: {error}") from error
