"""Kubernetes quantities, sizes as people write them, and sizes for people to read. Parsing is exact: no floats."""

from __future__ import annotations

import math
import re
from fractions import Fraction

MIB = 2**20
GIB = 2**30

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
_SIZE = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)(?:([KMGTPE])(i?))?(B?)", re.IGNORECASE)


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
    if match is None:
        raise ValueError(f"{text!r} is no size: write 10Gi, 512M or a number of bytes")
    number, letter, binary, _ = match.groups()
    return math.floor(Fraction(number) * _factor(letter, 1024 if binary else 1000))


def parse_size_as_truncate(text: str) -> int:
    """Bytes of a size as truncate(1) reads it, in upper or lower case: `1G` and `1Gi` are 2**30, and `1GB` is 10**9.

    Raises:
        ValueError: the text is not a whole number of bytes or units.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or "." in match[1]:
        raise ValueError(f"{text!r} is no size: write it like 1G, 1Gi or 512M")
    number, letter, binary, byte = match.groups()
    return int(number) * _factor(letter, 1000 if byte and not binary else 1024)


def _factor(letter: str | None, base: int) -> int:
    return int(base ** ("KMGTPE".index(letter.upper()) + 1)) if letter else 1


def for_people(size_bytes: int) -> str:
    """A number of bytes to read: `512 B`, `1.5 GiB`."""
    amount, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"
