"""Fixtures that tests of every folder use. Skips and their reasons are listed at the end of each run (-ra)."""

import pytest

from tests.cluster.fixtures import cluster, control_plane

__all__ = ["cluster", "control_plane"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write what is rendered now to the golden files")


TIERS = ("integration", "cluster", "guest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick tiers first: a mistake shows in seconds, and Kubernetes is built meanwhile."""

    def tier(item: pytest.Item) -> int:
        return max((TIERS.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in TIERS), default=0)

    items.sort(key=tier)
