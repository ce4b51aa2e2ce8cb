"""The demo target: makes the agent serve what the plan says, and keeps at it until every LUN is there.

It goes through the same volumes and exports as everything else. An image that cannot be had within some
seconds is replaced by the demo disk until the next start, so that the 2017 command always boots something.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lundock_common.portal import Portal
from lundock_common.quantity import MIB
from target_image.agent import translate
from target_image.agent.demo.banner import Row, banner
from target_image.agent.demo.plan import Plan, PlannedLun
from target_image.agent.errors import AgentError, ImageFailed
from target_image.agent.images.library import DEMO
from target_image.api import fields, requests

if TYPE_CHECKING:
    from target_image.agent.service.agent import Agent

EXPORT_ID = "demo"
REACH_S = 10.0
"""How long an image's hosts have to send its first byte."""
POLL_S = 0.2
RETRY_S = 5.0

log = structlog.get_logger()


def print_at_once(text: str) -> None:
    print(text, flush=True)


class Demo:
    """It waits for the replay of the ledger, and ends by itself when everything is served."""

    def __init__(self, plan: Plan, agent: Agent, show_banner: Callable[[str], None] = print_at_once) -> None:
        """Make it before the agent starts, which deletes images that have no name.

        Args:
            plan: what to serve.
            agent: the agent that serves it.
            show_banner: called once, with what a person needs to use the target.
        """
        self._plan = plan
        self._agent = agent
        self._show_banner = show_banner
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)
        self._began_at_s = 0.0
        self._tag = ""
        for name, spec in plan.added_images.items():
            agent.images.know(name, spec)

    def start(self) -> None:
        """Begin in a thread of its own."""
        for warning in self._plan.warnings:
            log.warning("demo target", warning=warning)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does so at its next step."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._agent.supervisor.opened.wait(POLL_S):
            if self._stopping.is_set():
                return
        self._began_at_s = time.monotonic()
        banner_shown = False
        stale_removed = False
        while not self._stopping.is_set():
            try:
                if not stale_removed:
                    self._remove_stale()
                    stale_removed = True
                if self._agent.ledger.export(EXPORT_ID) is None:
                    # What needs no image is served first: beginning to fetch the others takes a while.
                    self._converge([planned for planned in self._plan.luns if planned.image is None])
                waiting = self._converge(self._plan.luns)
            except AgentError as error:
                log.error("the demo target is not complete", code=error.code, detail=error.detail, retry_in_s=RETRY_S)
                self._stopping.wait(RETRY_S)
                continue
            except Exception:  # a bug in one LUN must not end the others' thread
                log.exception("the demo target is not complete", retry_in_s=RETRY_S)
                self._stopping.wait(RETRY_S)
                continue
            if not banner_shown and (not waiting or time.monotonic() - self._began_at_s > REACH_S):
                self._show_banner(self._banner())
                banner_shown = True
            if not waiting:
                return
            self._stopping.wait(POLL_S)

    def _remove_stale(self) -> None:
        """Delete what an earlier start with kept data left and this one does not want.

        Stand-ins, another IQN, and files of the host that are no longer named (which are only forgotten).
        """
        volumes = self._agent.ledger.volumes()
        found = (re.fullmatch(r"demo-([0-9a-f]{8})-.*", volume.id) for volume in volumes)
        self._tag = next((match[1] for match in found if match), secrets.token_hex(4))
        export = self._agent.ledger.export(EXPORT_ID)
        ours = [volume for volume in volumes if volume.id.startswith(f"demo-{self._tag}-")]
        planned = {self._volume_id(lun) for lun in self._plan.luns}
        stale = [
            volume.id
            for volume in ours
            if volume.stand_in or volume.state == "failed" or (volume.path is not None and volume.id not in planned)
        ]
        if export is not None and (stale or export.iqn != self._plan.iqn):
            self._agent.exports.remove(EXPORT_ID, force=True)
        for id in stale:
            if not self._agent.ledger.exports_of(id):  # or somebody else's export serves it
                self._agent.volumes.remove(id)

    def _converge(self, wanted: Sequence[PlannedLun]) -> list[PlannedLun]:
        """Make the volumes of these LUNs and export those that are ready.

        Returns:
            The LUNs without their image yet.
        """
        served: list[PlannedLun] = []
        waiting: list[PlannedLun] = []
        for planned in wanted:
            ready = self._ensure_volume(planned)
            (served if ready else waiting).append(planned)
        luns = [
            requests.Lun(
                lun=planned.lun,
                volume=self._volume_id(planned),
                read_only=planned.host_file is not None and planned.host_file.read_only,
            )
            for planned in served
        ]
        record = self._agent.ledger.export(EXPORT_ID)
        chap = translate.chap_to_row(self._plan.chap)
        if record is None or (record.luns, record.chap) != (translate.luns_to_rows(luns), chap):
            spec = requests.ExportSpec(iqn=self._plan.iqn, luns=luns, chap=self._plan.chap)
            if_match = None if record is None else "*"
            self._agent.exports.ensure(EXPORT_ID, spec, if_match, force=True)
            log.info("demo target", iqn=self._plan.iqn, luns=[lun.lun for lun in luns])
        return waiting

    def _ensure_volume(self, planned: PlannedLun) -> bool:
        """Make the volume, or take it a step further; whether it can be served."""
        id = self._volume_id(planned)
        if planned.host_file is not None:
            self._agent.volumes.adopt(id, planned.host_file.path, size_bytes=planned.host_file.size_bytes)
            return True
        record = self._agent.ledger.volume(id)
        if record is not None and record.state == "ready" and planned.size_bytes <= record.size_bytes:
            return True
        if planned.image is None:
            spec = requests.VolumeSpec(size_bytes=planned.size_bytes)
            return self._agent.volumes.ensure(id, spec, "*" if record else None).answer.phase is fields.Phase.READY
        if planned.image != DEMO and not self._fetch_or_stand_in(planned.image):
            return False
        spec = requests.VolumeSpec(size_bytes=MIB, source=requests.ImageSource(image=planned.image))
        try:
            return self._agent.volumes.ensure(id, spec).answer.phase is fields.Phase.READY
        except ImageFailed:
            return False  # it failed just now: the next step lets the demo disk stand in

    def _fetch_or_stand_in(self, name: str) -> bool:
        """Start the download of an image, or let the demo disk stand in for it; whether a volume can be made of it."""
        images = self._agent.images
        image = images.get(name)
        if image.phase is fields.Phase.READY or image.stand_in:
            return True
        if image.phase is fields.Phase.PENDING:
            images.find_or_start_fetch(name)
        late = image.bytes_done == 0 and time.monotonic() - self._began_at_s > REACH_S
        if image.phase is fields.Phase.FAILED or late:
            images.stand_in(name)
            return True
        return image.bytes_done > 0

    def _banner(self) -> str:
        plan = self._plan
        rows = [Row(planned.lun, planned.name, *self._size_and_state(planned)) for planned in plan.luns]
        username = None if plan.chap is None else plan.chap.username
        portal = plan.portal or Portal("127.0.0.1", self._agent.settings.iscsi_port)
        return banner(portal, plan.iqn, rows, username, plan.warnings)

    def _size_and_state(self, planned: PlannedLun) -> tuple[int, str]:
        """Size and state of a LUN."""
        volume = self._agent.ledger.volume(self._volume_id(planned))
        if volume is None or volume.state != "ready":
            return 0, "its image is being fetched"
        if volume.stand_in:
            return volume.size_bytes, f"STAND-IN: {planned.name} could not be fetched, so this is the demo disk"
        if planned.host_file is not None and planned.host_file.read_only:
            return volume.size_bytes, "ready, READ-ONLY"
        return volume.size_bytes, "ready"

    def _volume_id(self, planned: PlannedLun) -> str:
        """With a tag of this data folder, since the SCSI identity comes from the id and two targets must differ.

        A host's file keeps its identity whatever its LUN is, and no other file gets it.
        """
        name = planned.name if planned.host_file is None else _host_name(planned.host_file.path)
        return f"demo-{self._tag}-{name}"


def _host_name(path: Path) -> str:
    """The file's name as far as an id can hold it, and a digest of the whole path."""
    readable = re.sub(r"[^a-z0-9]+", "-", path.name.lower())[:20].strip("-")
    return "-".join(filter(None, ("host", readable, hashlib.sha256(str(path).encode()).hexdigest()[:8])))
