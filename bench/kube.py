"""The plainest client of a control plane: a connection a thread, no retries, no types.

A load generator must cost little itself, and must not share code with the provisioner that it measures: so it is not
built on the provisioner's client.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from cluster.components.arguments import ADMINISTRATORS
from cluster.components.control_plane import ControlPlane
from cluster.machine.waiting import wait_for

Json = dict[str, Any]
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


class Api:
    """Plain JSON over one connection a thread. Safe to use from many threads."""

    def __init__(self, plane: ControlPlane) -> None:
        administrator = plane.authority.issue("bench", "bench", [ADMINISTRATORS])
        self._url = plane.url
        self._authority = str(plane.authority.files.certificate)
        self._certificate = (str(administrator.certificate), str(administrator.key))
        self._local = threading.local()

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.trust_env, session.verify, session.cert = False, self._authority, self._certificate
            self._local.session = session
        session = self._local.session
        assert isinstance(session, requests.Session)
        return session

    def get(self, path: str) -> Json:
        answer = self._session.get(self._url + path, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def create(self, path: str, manifest: Json) -> Json:
        """Create an object.

        Returns:
            It as it was stored.
        """
        answer = self._session.post(self._url + path, json=manifest, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def delete(self, path: str) -> None:
        answer = self._session.delete(self._url + path, timeout=60)
        if answer.status_code != requests.codes.not_found:
            answer.raise_for_status()

    def each(self, call: Callable[[Any], object], items: Iterable[Any], threads: int = 8) -> None:
        """Call it for every item, some at a time; an exception of a call is raised here."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, items))


class Watch:
    """Watches one collection in a thread and notes when each object was first seen to be as asked."""

    def __init__(self, api: Api, path: str, reached: Callable[[Json], str | None]) -> None:
        self.seen: dict[str, float] = {}
        """Monotonic seconds by the key that `reached` gave."""
        self._api, self._path, self._reached = api, path, reached
        self._version = api.get(path)["metadata"]["resourceVersion"]
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, count: int, timeout_s: float) -> None:
        """Wait until this many objects have been seen.

        Raises:
            TimeoutError: fewer were seen in that time.
        """
        if not wait_for(lambda: len(self.seen) >= count, timeout_s, pause_s=0.02):
            raise TimeoutError(f"{len(self.seen)} of {count} objects of {self._path} after {timeout_s:.0f} s")

    def close(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion={self._version}"
            with self._api._session.get(
                f"{self._api._url}{self._path}?{query}", stream=True, timeout=(5, 700)
            ) as answer:
                for line in answer.iter_lines(chunk_size=None):
                    self._note(json.loads(line), time.monotonic())
                    if self._ended.is_set():
                        return

    def _note(self, event: Json, now_s: float) -> None:
        if event["type"] == "ERROR":  # 410 Gone: start again from what is there
            listed = self._api.get(self._path)
            self._version = listed["metadata"]["resourceVersion"]
            events = [{"type": "MODIFIED", "object": item} for item in listed["items"]]
        else:
            self._version = event["object"]["metadata"]["resourceVersion"]
            events = [event]
        for each in events:
            key = self._reached(each["object"]) if each["type"] in ("ADDED", "MODIFIED") else None
            if key is not None:
                self.seen.setdefault(key, now_s)
