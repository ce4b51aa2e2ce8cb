"""The demo target: makes the service serve what the plan says, and keeps at it until every LUN is there.

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
from typing import Protocol

import structlog

from target_image.agent import translate
from target_image.agent.demo.banner import Row, banner
from target_image.agent.demo.plan import Plan, PlannedLun
from target_image.agent.demo.usage import Portal
from target_image.agent.errors import AgentError, ImageFailed
from target_image.agent.images.library import DEMO, Images
from target_image.agent.service.exports import Exports
from target_image.agent.service.supervisor import Supervisor
from target_image.agent.service.volumes import Volumes
from target_image.agent.settings import MIB, Settings
from target_image.agent.state.ledger import Ledger
from target_image.api import fields, requests

EXPORT_ID = "demo"
REACH_S = 10.0
"""How long an image's hosts have to send its first byte."""
POLL_S = 0.2
RETRY_S = 5.0

log = structlog.get_logger()


def _print(text: str) -> None:
    print(text, flush=True)


class Service(Protocol):
    """What of the agent the demo uses."""

    settings: Settings

    @property
    def ledger(self) -> Ledger: ...
    @property
    def images(self) -> Images: ...
    @property
    def volumes(self) -> Volumes: ...
    @property
    def exports(self) -> Exports: ...
    @property
    def supervisor(self) -> Supervisor: ...


class Demo:
    """It waits for the replay of the ledger, and ends by itself when everything is served."""

    def __init__(self, plan: Plan, service: Service, say: Callable[[str], None] = _print) -> None:
        """`say` takes the banner, once. Make it before the service starts, which deletes images that have no name."""
        self._plan = plan
        self._service = service
        self._say = say
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)
        self._began_at_s = 0.0
        self._tag = ""
        for name, spec in plan.added_images.items():
            service.images.know(name, spec)

    def start(self) -> None:
        for warning in self._plan.warnings:
            log.warning("demo target", warning=warning)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    # -- how -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._service.supervisor.opened.wait(POLL_S):
            if self._stopping.is_set():
                return
        self._began_at_s = time.monotonic()
        told = False
        prepared = False
        while not self._stopping.is_set():
            try:
                if not prepared:
                    self._prepare()
                    prepared = True
                if self._service.ledger.export(EXPORT_ID) is None:
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
            if not told and (not waiting or time.monotonic() - self._began_at_s > REACH_S):
                self._say(self._banner())
                told = True
            if not waiting:
                return
            self._stopping.wait(POLL_S)

    def _prepare(self) -> None:
        """Clear away what an earlier start with kept data left and this one does not want.

        Stand-ins, another IQN, and files of the host that are no longer named (which are only forgotten).
        """
        volumes = self._service.ledger.volumes()
        found = (re.fullmatch(r"demo-([0-9a-f]{8})-.*", volume.id) for volume in volumes)
        self._tag = next((match[1] for match in found if match), secrets.token_hex(4))
        export = self._service.ledger.export(EXPORT_ID)
        ours = [volume for volume in volumes if volume.id.startswith(f"demo-{self._tag}-")]
        planned = {self._volume_id(lun) for lun in self._plan.luns}
        stale = [
            volume.id
            for volume in ours
            if volume.stand_in or volume.state == "failed" or (volume.path is not None and volume.id not in planned)
        ]
        if export is not None and (stale or export.iqn != self._plan.iqn):
            self._service.exports.remove(EXPORT_ID, force=True)
        for id in stale:
            if not self._service.ledger.exports_of(id):  # or somebody else's export serves it
                self._service.volumes.remove(id)

    def _converge(self, wanted: Sequence[PlannedLun]) -> list[PlannedLun]:
        """One step towards these LUNs; those that are still waiting for their image."""
        served: list[PlannedLun] = []
        waiting: list[PlannedLun] = []
        for planned in wanted:
            ready = self._volume_ready(planned)
            (served if ready else waiting).append(planned)
        luns = [
            requests.Lun(
                lun=planned.lun,
                volume=self._volume_id(planned),
                read_only=planned.host_file is not None and planned.host_file.read_only,
            )
            for planned in served
        ]
        record = self._service.ledger.export(EXPORT_ID)
        chap = translate.chap_to_row(self._plan.chap)
        if record is None or (record.luns, record.chap) != (translate.luns_to_rows(luns), chap):
            spec = requests.ExportSpec(iqn=self._plan.iqn, luns=luns, chap=self._plan.chap)
            if_match = None if record is None else "*"
            self._service.exports.ensure(EXPORT_ID, spec, if_match, force=True)
            log.info("demo target", iqn=self._plan.iqn, luns=[lun.lun for lun in luns])
        return waiting

    def _volume_ready(self, planned: PlannedLun) -> bool:
        """Take the volume a step further; whether it can be served."""
        id = self._volume_id(planned)
        if planned.host_file is not None:
            self._service.volumes.adopt(id, planned.host_file.path, size_bytes=planned.host_file.size_bytes)
            return True
        record = self._service.ledger.volume(id)
        if record is not None and record.state == "ready" and planned.size_bytes <= record.size_bytes:
            return True
        if planned.image is None:
            spec = requests.VolumeSpec(size_bytes=planned.size_bytes)
            return self._service.volumes.ensure(id, spec, "*" if record else None).answer.phase is fields.Phase.READY
        if planned.image != DEMO and not self._image_arrives(planned.image):
            return False
        spec = requests.VolumeSpec(size_bytes=MIB, source=requests.ImageSource(image=planned.image))
        try:
            return self._service.volumes.ensure(id, spec).answer.phase is fields.Phase.READY
        except ImageFailed:
            return False  # it failed just now: the next step lets the demo disk stand in

    def _image_arrives(self, name: str) -> bool:
        """Whether a volume can be made of it: it is ready, on its way, or the demo disk stands in."""
        images = self._service.images
        image = images.get(name)
        if image.phase is fields.Phase.READY or image.stand_in:
            return True
        if image.phase is fields.Phase.PENDING:
            images.require(name)
        late = image.bytes_done == 0 and time.monotonic() - self._began_at_s > REACH_S
        if image.phase is fields.Phase.FAILED or late:
            images.stand_in(name)
            return True
        return image.bytes_done > 0

    def _banner(self) -> str:
        plan = self._plan
        rows = [Row(planned.lun, planned.name, *self._told(planned)) for planned in plan.luns]
        username = None if plan.chap is None else plan.chap.username
        portal = plan.portal or Portal("127.0.0.1", self._service.settings.iscsi_port)
        return banner(portal, plan.iqn, rows, username, plan.warnings)

    def _told(self, planned: PlannedLun) -> tuple[int, str]:
        """Size and state of a LUN."""
        volume = self._service.ledger.volume(self._volume_id(planned))
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
