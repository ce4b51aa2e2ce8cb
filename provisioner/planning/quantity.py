"""Kubernetes quantities: `10Gi` and bytes (pure)."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation

_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,3})?$")
_DECIMAL = {"": 0, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str) -> int:
    """Bytes, rounded up (apimachinery, pkg/api/resource/quantity.go). Raises ValueError."""
    match = _QUANTITY.match(text)
    try:
        value = Decimal(match[1]) if match else None
    except InvalidOperation:
        value = None
    if match is None or value is None:
        raise ValueError(f"{text!r} is not a quantity such as 10Gi")
    suffix = match[2] or ""
    if suffix in _BINARY:
        value *= 2 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value = value.scaleb(_DECIMAL[suffix])
    else:
        value = value.scaleb(int(suffix[1:]))
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def render(size_bytes: int) -> str:
    """The shortest exact binary quantity."""
    for suffix, power in reversed(_BINARY.items()):
        if size_bytes and size_bytes % 2**power == 0:
            return f"{size_bytes // 2**power}{suffix}"
    return str(size_bytes)
