from __future__ import annotations

import pytest

from tests.vm_disks import reference


def test_the_reference_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite-golden"):
        reference.PAGE.write_text(reference.page())
    assert reference.PAGE.read_text() == reference.page(), f"rewrite with: pytest {__file__} --rewrite-golden"
