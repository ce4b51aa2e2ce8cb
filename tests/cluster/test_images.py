"""Names of images, and what an image is made from."""

from __future__ import annotations

import pytest

from cluster.components.images import copied_paths, full_name

DOCKERFILE = """\
FROM debian:bookworm-slim AS build
COPY certificates/ /usr/local/share/ca-certificates/
COPY setup.py pyproject.toml /src/
COPY --chown=65532 target_image /src/target_image
FROM debian:bookworm-slim
COPY --from=build /opt/lundock /opt/lundock
RUN echo COPY nothing here
"""


def test_an_image_is_made_from_what_its_dockerfile_copies() -> None:
    assert copied_paths(DOCKERFILE) == ["certificates/", "setup.py", "pyproject.toml", "target_image"]


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("debian:bookworm-slim", "docker.io/library/debian:bookworm-slim"),
        ("lundock/target", "docker.io/lundock/target:latest"),
        ("lundock/target:0.1.0", "docker.io/lundock/target:0.1.0"),
        ("registry.example:5000/a/b", "registry.example:5000/a/b:latest"),
        ("localhost/a:1", "localhost/a:1"),
    ],
)
def test_a_short_name_means_docker_hub_and_latest(short: str, full: str) -> None:
    assert full_name(short) == full
