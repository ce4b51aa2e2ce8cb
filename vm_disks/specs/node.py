"""A place in a document that knows its path, so that every fault can be named by where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vm_disks.errors import SpecError, Unsupported, VmDisksError
from vm_disks.xml.markup import carries


class Node:
    """A value and its path. A value of the wrong type is a fault and reads as absent; nothing here raises."""

    def __init__(self, value: Any, path: str, faults: list[VmDisksError]) -> None:
        self.value = value
        self.path = path
        self._faults = faults

    def __getitem__(self, name: str) -> Node:
        """The child at a dotted name; absent where any step of it is."""
        node = self
        for step in name.split("."):
            node = Node(node.mapping().get(step), f"{node.path}.{step}" if node.path else step, self._faults)
        return node

    def __bool__(self) -> bool:
        return self.value is not None

    def fault(self, reason: str) -> None:
        self._add(SpecError(self.path, reason))

    def unsupported(self, reason: str) -> None:
        self._add(Unsupported(self.path, reason))

    def _add(self, error: SpecError) -> None:
        if all(str(error) != str(known) for known in self._faults):
            self._faults.append(error)

    def mapping(self) -> dict[str, Any]:
        return self._of(dict, "a mapping") or {}

    def items(self) -> Iterator[Node]:
        for index, value in enumerate(self._of(list, "a list") or []):
            yield Node(value, f"{self.path}[{index}]", self._faults)

    def flag(self, default: bool = False) -> bool:
        value = self._of(bool, "true or false")
        return default if value is None else bool(value)

    def text(self, pattern: str | None = None, rule: str = "") -> str | None:
        """A string; `rule` says in words what `pattern` asks for."""
        value: str | None = self._of(str, "a string")
        if value is not None and (not carries(value) or (pattern and not re.fullmatch(pattern, value))):
            self.fault(f"{value!r} {rule or 'has characters that XML cannot carry'}")
            return None
        return value

    def required(self, pattern: str | None = None, rule: str = "") -> str:
        if self.value is None or self.value == "":
            self.fault("is missing")
            return ""
        return self.text(pattern, rule) or ""

    def choice(self, options: Sequence[str]) -> str | None:
        value = self.text()
        if value is not None and value not in options:
            self.fault(f"{value!r} is not one of {', '.join(options)}")
            return None
        return value

    def number(self, minimum: int, maximum: int = 2**31 - 1) -> int | None:
        value = self.value
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(f"{_shown(value)} is not a whole number")
            return None
        if not minimum <= value <= maximum:
            self.fault(f"{value} is not between {minimum} and {maximum}")
            return None
        return value

    def _of(self, kind: type, wanted: str) -> Any:
        if self.value is None or isinstance(self.value, kind):
            return self.value
        self.fault(f"{_shown(self.value)} is not {wanted}")
        return None


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)
