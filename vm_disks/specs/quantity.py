"""Kubernetes quantities (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)."""

from __future__ import annotations

import re
from decimal import Decimal

SUFFIXES: dict[str, Decimal] = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate(("m", "u", "n"), 1)},
    "": Decimal(1),
}
_NUMBER = re.compile(
    r"\+?([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE]([+-]?[0-9]{1,2})|([KMGTPE]i|[kMGTPEmun]|))"
)


def parse(text: str) -> int:
    """The quantity rounded up to a whole number. Raises ValueError for what is not a quantity, or is negative."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a quantity such as 512Mi, 1G or 2")
    number, exponent, suffix = match.groups()
    value = Decimal(number) * (Decimal(10) ** int(exponent) if exponent else SUFFIXES[suffix or ""])
    return int(value.to_integral_value(rounding="ROUND_CEILING"))
