"""Kubernetes quantities, sizes as people write them, and sizes for people to read. Parsing is exact: no floats."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: 1000**power for power, letter in enumerate("kMGTPE", 1)}
_SMALL = {letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", 1)}
_FACTORS: dict[str, Fraction] = {
    "": Fraction(1),
    **_SMALL,
    **{suffix: Fraction(factor) for suffix, factor in {**_BINARY, **_DECIMAL}.items()},
}
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))(?:([KMGTPE]i|[kMGTPEmun])|[eE]([+-]?[0-9]{1,3}))?"
)
_SIZE = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)([KMGTPE]?)(i?)B?", re.IGNORECASE)


def parse(text: str) -> int:
    """A Kubernetes quantity (apimachinery, pkg/api/resource/quantity.go), rounded up to a whole number.

    Args:
        text: such as `10Gi`, `1.5G`, `100m`, `1e3` or `-1`.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 512Mi, 1G or 2")
    number, suffix, exponent = match.groups()
    factor = Fraction(10) ** int(exponent) if exponent else _FACTORS[suffix or ""]
    return math.ceil(Fraction(number) * factor)


def render(number: int) -> str:
    """The shortest exact binary quantity: `10Gi`; without a suffix where no power of 1024 divides it."""
    for suffix, factor in reversed(_BINARY.items()):
        if number and number % factor == 0:
            return f"{number // factor}{suffix}"
    return str(number)


def parse_size(text: str) -> int:
    """Bytes of a size as people type it on a command line: `10Gi`, `512M`, `1.5TiB`, `4096`, in upper or lower case.

    K, M, G, T, P and E are powers of 1000, and with an i of 1024. Unlike in a quantity, `m` is no thousandth.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is no size: write 10Gi, 512M or a number of bytes")
    power = "KMGTPE".index(match[2].upper()) + 1 if match[2] else 0
    unit = 1024 if match[3] else 1000
    return math.floor(Fraction(match[1]) * Fraction(unit) ** power)


def for_people(size_bytes: int) -> str:
    """A number of bytes to read: `512 B`, `1.5 GiB`."""
    amount, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"
