"""LIO in the guest: the engine's own tests and the engines' contract, run there by the guest's pytest."""

from __future__ import annotations

import pytest

from tests.guest.machine import Machine

pytestmark = pytest.mark.guest

# The warning is rtslib's own, of pyudev.
PYTEST = (
    "python3 -m pytest -q -p no:cacheprovider --confcutdir=tests/guest"
    " -W 'ignore:Will be removed in 1.0:DeprecationWarning' tests/guest/inside"
)
SHORT = (
    "says_who or read_only_lun_beside or session_is_ended or adopts or missing_file or chap_rotation"
    " or survives_the_agents or mutual_chap_proves"
)


@pytest.mark.timeout(1000)
def test_the_engine_in_short(guest: Machine) -> None:
    _run(guest, f"{PYTEST} -k '{SHORT}'", timeout_s=900)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_engine(guest: Machine) -> None:
    _run(guest, PYTEST, timeout_s=1500)


def _run(guest: Machine, command: str, timeout_s: float) -> None:
    result = guest.run(command, timeout_s=timeout_s, check=False)
    assert result.code == 0, result.stdout[-8000:] + result.stderr
    assert " passed" in result.stdout
