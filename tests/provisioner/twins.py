"""Tiny twins of the API server and of what watches it, in memory: what the reconciler talks to in unit tests.

They keep the rules that its correctness rests on (names are unique, resource versions, finalizers, natural
keys, owners), and they can break: a fuse ends the caller in the middle of its work, before or after the effect.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from lundock_common import kubernetes_api
from provisioner.kube.events import Subject

Json = dict[str, Any]
T = TypeVar("T")
Items = list[Json]
"""Named, since a twin has a method `list`."""


class Killed(BaseException):
    """The process ends here, as by kill -9."""


class Fuse:
    """Burns down with every call that changes something; at zero it is a crash or a lost answer."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.after_effect = True
        self.make: Callable[[], BaseException] = Killed

    def arm(self, calls: int, make: Callable[[], BaseException], *, after_effect: bool) -> None:
        self.left, self.make, self.after_effect = calls, make, after_effect

    def disarm(self) -> None:
        self.left = None

    def around(self, effect: Callable[[], T]) -> T:
        if self.left is None:
            return effect()
        self.left -= 1
        if self.left >= 0:
            return effect()
        self.left = None
        if self.after_effect:
            effect()
        raise self.make()


class Api:
    """The calls of lundock_common.kubernetes_api.Kube, on a dictionary."""

    def __init__(self, fuse: Fuse | None = None) -> None:
        self.objects: dict[str, Json] = {}
        self.fuse = fuse or Fuse()
        self._versions = itertools.count(1)
        self.calls: list[tuple[str, str]] = []

    def get(self, path: str, **_query: Any) -> Json:
        if path not in self.objects:
            raise kubernetes_api.NotFound(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self.objects[path])

    def create(self, path: str, body: Json) -> Json:
        return self.fuse.around(lambda: self._create(path, body))

    def replace(self, path: str, body: Json) -> Json:
        return self.fuse.around(lambda: self._replace(path, body))

    def patch(self, path: str, body: Json) -> Json:
        return self.fuse.around(lambda: self._patch(path, body))

    def delete(self, path: str, uid: str | None = None) -> Json | None:
        return self.fuse.around(lambda: self._delete(path, uid))

    def list(self, path: str, **_query: Any) -> tuple[Items, str]:
        kind = path.rpartition("/")[2]
        found = [copy.deepcopy(item) for key, item in self.objects.items() if key.split("/")[-2] == kind]
        return found, str(next(self._versions))

    def under(self, kind: str) -> Items:
        return self.list(f"/api/v1/{kind}")[0]

    def _create(self, path: str, body: Json) -> Json:
        key = f"{path}/{body['metadata']['name']}"
        self.calls.append(("POST", key))
        if key in self.objects:
            raise kubernetes_api.AlreadyExists(409, "AlreadyExists", f"{key} already exists")
        item = copy.deepcopy(body)
        item["metadata"].setdefault("uid", f"uid-{next(self._versions)}")
        return self._store(key, item)

    def _replace(self, path: str, body: Json) -> Json:
        self.calls.append(("PUT", path))
        there = self.get(path)
        if (
            body["metadata"].get("resourceVersion", there["metadata"]["resourceVersion"])
            != (there["metadata"]["resourceVersion"])
        ):
            raise kubernetes_api.Conflict(409, "Conflict", "the object has been modified")
        item = copy.deepcopy(body)
        item["metadata"]["uid"] = there["metadata"]["uid"]
        return self._store(path, item)

    def _patch(self, path: str, body: Json) -> Json:
        self.calls.append(("PATCH", path))
        path = path.removesuffix("/status")
        item = self.get(path)
        wanted = body.get("metadata", {}).get("resourceVersion", item["metadata"]["resourceVersion"])
        if wanted != item["metadata"]["resourceVersion"]:
            raise kubernetes_api.Conflict(409, "Conflict", "the object has been modified")
        _merge(item, body)
        if item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
            return self.objects.pop(path)
        return self._store(path, item)

    def _delete(self, path: str, uid: str | None) -> Json | None:
        self.calls.append(("DELETE", path))
        if path not in self.objects:
            return None
        item = self.get(path)
        if uid is not None and item["metadata"]["uid"] != uid:
            raise kubernetes_api.Conflict(409, "Conflict", "the UID in the precondition does not match")
        if item["metadata"].get("finalizers"):
            item["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            return self._store(path, item)
        del self.objects[path]
        return {"kind": "Status"}

    def _store(self, key: str, item: Json) -> Json:
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = item
        return copy.deepcopy(item)


def _merge(item: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            _merge(item[key], value)
        else:
            item[key] = copy.deepcopy(value)


class Cache:
    """An informer that sees what was there when it was last refreshed."""

    def __init__(self, api: Api, kind: str) -> None:
        self._api = api
        self._kind = kind
        self._items: dict[str, Json] = {}

    def refresh(self) -> None:
        self._items = {}
        for item in self._api.under(self._kind):
            meta = item["metadata"]
            self._items[f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else meta["name"]] = item

    def get(self, key: str) -> Json | None:
        return self._items.get(key)

    def items(self) -> list[Json]:
        return list(self._items.values())


class Silent:
    """Takes events and keeps them."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.about: list[Subject] = []
        """Of each that was said."""

    def normal(self, subject: Subject, reason: str, message: str) -> None:
        self.said.append(("Normal", reason, message))
        self.about.append(subject)

    def warning(self, subject: Subject, reason: str, message: str, key: str = "") -> None:  # noqa: ARG002
        self.said.append(("Warning", reason, message))
        self.about.append(subject)
