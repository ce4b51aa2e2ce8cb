"""Sizes as people write them: 10Gi, 512M, 1.5T, 4096."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, **{unit: 1000**power for power, unit in enumerate("KMGTP", 1)}}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", 1)}
_SIZE = re.compile(r"^(?P<number>\d+(\.\d+)?)(?P<unit>[KMGTP]i?|)B?$", re.IGNORECASE)


def parse(text: str) -> int:
    """Bytes. K, M, G, T and P are powers of 1000, and with an i of 1024. Raises ValueError."""
    found = _SIZE.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size: write 10Gi, 512M or a number of bytes")
    unit = found["unit"]
    return int(float(found["number"]) * _UNITS[unit[:1].upper() + unit[1:].lower()])


class Size(click.ParamType[int]):
    """A click option that takes a size and gives bytes."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
