"""Images: fetched, verified and converted once per digest, in the background, and kept as sparse raw files.

A key is made of the digest and the format, so two names of the same image share one download and one file
(files.py).
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from target_image.agent import translate
from target_image.agent.errors import (
    IdentityConflict,
    ImageFailed,
    Invalid,
    NotFound,
    NotReady,
    SettingsError,
    UnknownImage,
)
from target_image.agent.images import catalogue, convert, download
from target_image.agent.images.allowlist import AllowList, Everywhere, Policy, Refused
from target_image.agent.images.files import ImageFiles
from target_image.agent.settings import Settings
from target_image.agent.state.ledger import Ledger
from target_image.agent.state.rows import Condition, ImageSpec
from target_image.api import fields, requests, responses

DEMO = "demo"
RETRY_AFTER_S = 60.0
"""How long a failure stands before the next request for the image tries again."""
WORKERS = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ReadyImage:
    """A finished image. `path` is a sparse raw file: open it at once, its name may go."""

    path: Path
    virtual_size_bytes: int
    stand_in: bool = False


@dataclass(frozen=True)
class Source:
    """Where an image comes from. Without a spec it is the demo disk, which the container carries."""

    key: str
    spec: ImageSpec | None
    policy: Policy
    by_content: bool = False
    """Whether its content says what it is: the name of a URL often does not (Ubuntu's and CirrOS' .img are qcow2)."""


@dataclass
class Job:
    """The work on one key. Fields are replaced by the worker and read by anyone."""

    phase: fields.Phase = fields.Phase.WORKING
    bytes_done: int = 0
    bytes_total: int = 0
    failure: str = ""
    unwanted: bool = False
    """Deleted while it was worked on."""
    ended_at_s: float = field(default=0.0)


class Images:
    """All images of a target. Thread-safe; `start` before use, `stop` at the end."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        room: Callable[[], int],
        known: Mapping[str, catalogue.Entry] | None = None,
    ) -> None:
        """`room` tells how many bytes images may still take; `known` is the catalogue (None: the package's).

        Raises:
            SettingsError: the catalogue or --image-hosts cannot be read.
        """
        self._settings = settings
        self._ledger = ledger
        self._room = room
        self._files = ImageFiles(settings.images_dir)
        known = catalogue.load() if known is None else known
        try:
            self._allowed = AllowList.parse([*settings.image_hosts, *catalogue.hosts(known)])
        except ValueError as error:
            raise SettingsError(f"--image-hosts: {error}: give host names, *.domains or networks") from error
        self._known = {name: translate.image_spec_to_row(entry.spec) for name, entry in known.items()}
        self._by_content: set[str] = set()
        self._demo_disk = settings.share_dir / "demo.img.gz"
        self._stand_ins: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._mutex = threading.RLock()
        """Held while a name or a file comes or goes, so that no two of these meet."""
        self._slots = threading.BoundedSemaphore(WORKERS)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Clear what a kill or an earlier version left, and go on with the images that were asked for."""
        keys = {source.key for source in self._sources().values()}
        for key in self._files.sweep(keys):
            _log.info("an image without a name is deleted", key=key)
        for name in self._ledger.images():
            source = self._source(name)
            if self._files.ready_bytes(source.key) is None:
                self._start_job(name, source)

    def stop(self) -> None:
        """Workers end at their next chunk, and look into the ledger no more; a program they run is ended."""
        with self._mutex:
            self._stopping.set()

    def put(self, name: str, asked: requests.ImageSpec) -> responses.Image:
        """Have an image under a name; fetching begins.

        Raises:
            Invalid: a URL is not allowed, or the URLs are of differently packed files.
            IdentityConflict: the name is the target's own, or is there with another spec.
        """
        spec = translate.image_spec_to_row(asked)
        if name == DEMO or (name in self._known and self._known[name] != spec):
            raise IdentityConflict(f"the image {name} is part of this target: choose another name")
        with self._mutex:
            if name not in self._known:
                before = self._ledger.image(name)
                if before is not None and before != spec:
                    raise IdentityConflict(
                        f"the image {name} is there with other urls, digest or format: "
                        "delete it first, or choose another name"
                    )
                self._check_urls(name, spec)
                self._ledger.put_image(name, spec)
            source = self._source(name)
            if self._files.ready_bytes(source.key) is None:
                self._start_job(name, source)
            return self._answer(name, source)

    def get(self, name: str) -> responses.Image:
        """An image as it is.

        Raises:
            NotFound: there is no such image.
        """
        try:
            source = self._source(name)
        except UnknownImage as error:
            raise NotFound(error.detail) from error
        return self._answer(name, source)

    def _answer(self, name: str, source: Source) -> responses.Image:
        job, stands_in = self._jobs.get(source.key), name in self._stand_ins
        condition = None
        if job is not None and job.failure:
            condition = Condition(code=ImageFailed.code, detail=job.failure)
        size_bytes = self._files.ready_bytes(source.key)
        if size_bytes is not None:
            return translate.image_to_response(
                name, source.spec, phase=fields.Phase.READY, virtual_size_bytes=size_bytes, stand_in=stands_in
            )
        return translate.image_to_response(
            name,
            source.spec,
            phase=fields.Phase.PENDING if job is None else job.phase,
            condition=condition,
            bytes_done=0 if job is None else job.bytes_done,
            bytes_total=0 if job is None else job.bytes_total,
            stand_in=stands_in,
        )

    def list(self) -> list[responses.Image]:
        return [self._answer(name, source) for name, source in self._sources().items()]

    def delete(self, name: str) -> None:
        """Forget an image and free its space; one of the catalogue stays known.

        Raises:
            Invalid: it is the demo disk.
            NotReady: a volume is still being filled from it.
        """
        if name == DEMO:
            raise Invalid("the demo disk is part of the container and cannot be removed")
        with self._mutex:
            source = self._sources().get(name)
            if source is None:
                return
            others = [other for other, its in self._sources().items() if its.key == source.key and other != name]
            waiting = [volume for each in (name, *others) for volume in self._ledger.volumes_from_image(each)]
            if waiting:
                raise NotReady(
                    f"the image {name} cannot be removed: {', '.join(waiting)} is still being filled from it; "
                    "wait until that is done, or delete it"
                )
            self._ledger.delete_image(name)
            if others:
                return  # they have the same file
            job = self._jobs.get(source.key)
            if job is not None and job.phase is fields.Phase.WORKING:
                job.unwanted = True  # its worker cleans up
                return
            self._jobs.pop(source.key, None)
            self._files.remove(source.key)

    def find_or_start_fetch(self, name: str) -> ReadyImage | None:
        """The image; or None while it is fetched and made ready, which this call begins.

        Raises:
            UnknownImage: there is no such image.
            ImageFailed: it could not be made a moment ago.
        """
        source = self._source(name)
        size_bytes = self._files.ready_bytes(source.key)
        if size_bytes is not None:
            return ReadyImage(self._files.raw(source.key), size_bytes)
        if name in self._stand_ins:
            demo = self.find_or_start_fetch(DEMO)
            return None if demo is None else ReadyImage(demo.path, demo.virtual_size_bytes, stand_in=True)
        job = self._start_job(name, source)
        if job.phase is fields.Phase.FAILED:
            raise ImageFailed(f"image {name}: {job.failure}", retry_after_s=RETRY_AFTER_S)
        return None

    def stand_in(self, name: str) -> None:
        """From now until the next start the demo disk stands in for this image, unless it is ready."""
        self._stand_ins.add(name)
        _log.warning("the demo disk stands in for an image", image=name, until="the next start")

    def know(self, name: str, spec: requests.ImageSpec) -> None:
        """Before `start`: add an image that the operator named by its URL, as trusted as the catalogue."""
        self._known[name] = translate.image_spec_to_row(spec)
        self._by_content.add(name)

    def _source(self, name: str) -> Source:
        if name == DEMO:
            return Source(self._demo_key(), None, Everywhere())
        if name in self._known:
            return Source(_key(self._known[name]), self._known[name], Everywhere(), name in self._by_content)
        spec = self._ledger.image(name)
        if spec is not None:
            return Source(_key(spec), spec, self._allowed)
        names = ", ".join(self._names())
        raise UnknownImage(
            f"there is no image {name!r}; this target has: {names}. "
            "Name one of these, or add it with PUT /v1/images/{name} (url and digest)"
        )

    def _demo_key(self) -> str:
        """Of the file's size and time, since reading it for each question would be slow."""
        try:
            status = self._demo_disk.stat()
        except FileNotFoundError:
            raise UnknownImage(
                f"there is no demo disk at {self._demo_disk}: build it with target_image/demo_disk/build.sh, "
                "or give the folder of the one there is with --share-dir"
            ) from None
        identity = f"{status.st_size} {status.st_mtime_ns}".encode()
        return f"demo-{hashlib.sha256(identity).hexdigest()[:16]}"

    def _check_urls(self, name: str, spec: ImageSpec) -> None:
        """What can be known before anything is fetched.

        Raises:
            Invalid: a URL is not allowed, or the URLs are of differently packed files.
        """
        if len({convert.packing(url) for url in spec.urls}) > 1:
            raise Invalid(f"the image {name} has URLs of differently packed files, which cannot have one digest")
        for url in spec.urls:
            try:
                self._allowed.check_url(url)
            except Refused as error:
                raise Invalid(f"the image {name} is refused: {error}") from error

    def _start_job(self, name: str, source: Source) -> Job:
        """Start the job of this key, unless it is running or failed a moment ago.

        Returns:
            The job.
        """
        with self._mutex:
            job = self._jobs.get(source.key)
            if job is not None:
                fresh_failure = time.monotonic() - job.ended_at_s < RETRY_AFTER_S
                job.unwanted = False
                if job.phase is fields.Phase.WORKING or (job.phase is fields.Phase.FAILED and fresh_failure):
                    return job
            job = self._jobs[source.key] = Job()
            threading.Thread(target=self._work, args=(name, source, job), name=f"image {name}", daemon=True).start()
            return job

    def _work(self, name: str, source: Source, job: Job) -> None:
        log = _log.bind(image=name, key=source.key)
        with self._slots:
            log.info("making an image")
            try:
                self._make_file(source, job)
            except download.Stopped:
                return
            except ImageFailed as error:
                job.failure = error.detail
            except OSError as error:
                job.failure = f"the image could not be written to {self._files.folder}: {error.strerror or error}"
            except Exception as error:  # a bug must end as a failed image, not as one that works for ever
                log.exception("an image failed unexpectedly")
                job.failure = f"the image could not be made: {type(error).__name__}: {error}"
            self._end_job(source.key, job, log)

    def _end_job(self, key: str, job: Job, log: structlog.typing.FilteringBoundLogger) -> None:
        with self._mutex:
            job.ended_at_s = time.monotonic()
            if job.unwanted and not self._stopping.is_set():
                log.info("an image that nobody wants any more is deleted")
                self._jobs.pop(key, None)
                self._files.remove(key)
            elif job.failure:
                log.error("an image failed", reason=job.failure)
                job.phase = fields.Phase.FAILED
            else:
                log.info("an image is ready")
                job.phase = fields.Phase.READY

    def _sources(self) -> dict[str, Source]:
        """Every image there is, by name. Outside the container there may be no demo disk."""
        demo = {DEMO} if self._demo_disk.exists() else set()
        stored = self._ledger.images()
        sources = {}
        for name in sorted({*demo, *self._known, *stored}):
            if name in demo or name in self._known:
                sources[name] = self._source(name)
            else:
                sources[name] = Source(_key(stored[name]), stored[name], self._allowed)
        return sources

    def _names(self) -> Sequence[str]:
        return list(self._sources())

    def _make_file(self, source: Source, job: Job) -> None:
        bounds = convert.Bounds(
            self._settings.image_max_bytes,
            self._settings.image_memory_bytes,
            self._settings.image_convert_timeout_s,
            self._room,
        )
        work, output = self._files.work(source.key), self._files.output(source.key)

        def progress(done: int, total: int) -> None:
            job.bytes_done, job.bytes_total = done, total

        try:
            if source.spec is None:
                convert.unpack(self._demo_disk, "gz", output, bounds, progress, self._stopping.is_set)
            else:
                fetched = self._fetch(source, source.spec, progress)
                packing = convert.packing(source.spec.urls[0])
                if packing:
                    convert.unpack(fetched, packing, work, bounds, progress, self._stopping.is_set)
                    fetched.unlink()
                    fetched = work
                format = convert.format_of(fetched) if source.by_content else fields.ImageFormat(source.spec.format)
                convert.to_raw(fetched, format, output, bounds, self._stopping.is_set)
                fetched.unlink(missing_ok=True)
            self._files.publish(source.key)
        finally:
            work.unlink(missing_ok=True)
            output.unlink(missing_ok=True)

    def _fetch(self, source: Source, spec: ImageSpec, progress: download.Progress) -> Path:
        """The bytes of the digest as a file of ours: from what the container carries, or from a URL."""
        partial = self._files.partial(source.key)
        carried = self._settings.share_dir / "images" / spec.digest.replace(":", "-")
        if carried.exists() and download.digest_of(carried, spec.digest) == spec.digest:
            shutil.copyfile(carried, partial)
            return partial
        settings = self._settings
        limits = download.Limits(settings.image_max_bytes, settings.image_timeout_s, source.policy, room=self._room)
        download.fetch(spec.urls, spec.digest, partial, limits, progress, self._stopping.is_set)
        return partial


def _key(spec: ImageSpec) -> str:
    packing = convert.packing(spec.urls[0])
    return "-".join(filter(None, (spec.digest.replace(":", "-"), spec.format, packing)))
