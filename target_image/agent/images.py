"""Images: fetched, verified and converted once per digest, in the background, and kept as sparse raw files.

    <images_dir>/<key>.partial    what is there of a download
    <images_dir>/<key>.work*      unpacked or half converted; deleted at start
    <images_dir>/<key>.raw        ready: synced and renamed, so that nothing looks finished after a kill

A key is made of the digest and the format, so two names of the same image share one download and one file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from target_image.agent import catalogue, convert, download, wire
from target_image.agent.allowlist import AllowList, Everywhere, Policy, Refused
from target_image.agent.errors import (
    IdentityConflict,
    ImageFailed,
    Invalid,
    NotFound,
    NotReady,
    SettingsError,
    UnknownImage,
)
from target_image.agent.ledger import Ledger
from target_image.agent.settings import Settings

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
    spec: wire.ImageSpec | None
    policy: Policy


@dataclass
class Job:
    """The work on one key. Fields are replaced by the worker and read by anyone."""

    phase: wire.Phase = wire.Phase.WORKING
    bytes_done: int = 0
    bytes_total: int = 0
    failure: str = ""
    ended_at_s: float = field(default=0.0)


class Images:
    """All images of a target. Thread-safe; `start` before use, `stop` at the end."""

    def __init__(
        self, settings: Settings, ledger: Ledger, *, known: Mapping[str, catalogue.Entry] | None = None
    ) -> None:
        """`known` is the catalogue (None: the one of the package). Raises SettingsError."""
        self._settings = settings
        self._ledger = ledger
        self._folder = settings.images_dir
        known = catalogue.load() if known is None else known
        try:
            self._allowed = AllowList.parse([*settings.image_hosts, *catalogue.hosts(known)])
        except ValueError as error:
            raise SettingsError(f"--image-hosts: {error}: give host names, *.domains or networks") from error
        self._known = {name: entry.spec for name, entry in known.items()}
        self._demo_disk = settings.share_dir / "demo.img.gz"
        self._stand_ins: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._mutex = threading.Lock()
        self._slots = threading.BoundedSemaphore(WORKERS)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Clear what a kill left half done, and go on with the images that were asked for."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("*.work*"):
            leftover.unlink()
        for name in self._ledger.images():
            source = self._source(name)
            if not self._raw(source).exists():
                self._begin(name, source)

    def stop(self) -> None:
        """Workers end at their next chunk; a program they run ends with this process."""
        self._stopping.set()

    # -- the API ---------------------------------------------------------------------------------------

    def put(self, name: str, spec: wire.ImageSpec) -> wire.Image:
        """Have an image under a name; fetching begins. Raises Invalid, IdentityConflict."""
        if name == DEMO or (name in self._known and self._known[name] != spec):
            raise IdentityConflict(f"the image {name} is part of this target: choose another name")
        if name not in self._known:
            before = self._ledger.image(name)
            if before is not None and before != spec:
                raise IdentityConflict(
                    f"the image {name} is there with other urls, digest or format: "
                    "delete it first, or choose another name"
                )
            self._check(name, spec)
            self._ledger.put_image(name, spec)
        source = self._source(name)
        if not self._raw(source).exists():
            self._begin(name, source)
        return self.get(name)

    def get(self, name: str) -> wire.Image:
        """An image as it is. Raises NotFound."""
        try:
            source = self._source(name)
        except UnknownImage as error:
            raise NotFound(error.detail) from error
        raw, job, stands_in = self._raw(source), self._jobs.get(source.key), name in self._stand_ins
        condition = None
        if job is not None and job.failure:
            condition = wire.Condition(code=ImageFailed.code, detail=job.failure)
        if raw.exists():
            size_bytes = raw.stat().st_size
            return wire.Image(
                name=name, spec=source.spec, phase=wire.Phase.READY, virtual_size_bytes=size_bytes, stand_in=stands_in
            )
        return wire.Image(
            name=name,
            spec=source.spec,
            phase=wire.Phase.PENDING if job is None else job.phase,
            condition=condition,
            bytes_done=0 if job is None else job.bytes_done,
            bytes_total=0 if job is None else job.bytes_total,
            stand_in=stands_in,
        )

    def list(self) -> list[wire.Image]:
        return [self.get(name) for name in self._names()]

    def delete(self, name: str) -> None:
        """Forget an image and free its space; one of the catalogue stays known. Raises NotReady while it is in use."""
        if name == DEMO:
            raise Invalid("the demo disk is part of the container and cannot be removed")
        try:
            source = self._source(name)
        except UnknownImage:
            return
        waiting = self._ledger.volumes_from_image(name)
        if waiting:
            raise NotReady(
                f"the image {name} cannot be removed: {', '.join(waiting)} is still being filled from it; "
                "wait until that is done, or delete it"
            )
        if name in self._ledger.images():
            self._ledger.delete_image(name)
        with self._mutex:
            if source.key in {self._source(other).key for other in self._ledger.images()}:
                return
            job = self._jobs.get(source.key)
            if job is not None and job.phase is wire.Phase.WORKING:
                return  # its worker sees that nobody wants it, and cleans up
            self._jobs.pop(source.key, None)
            for path in self._folder.glob(f"{source.key}.*"):
                path.unlink()

    # -- for volumes -----------------------------------------------------------------------------------

    def require(self, name: str) -> ReadyImage | None:
        """The image, or None while it is made, which this call begins. Raises UnknownImage, ImageFailed."""
        source = self._source(name)
        raw = self._raw(source)
        if raw.exists():
            return ReadyImage(raw, raw.stat().st_size)
        if name in self._stand_ins:
            demo = self.require(DEMO)
            return None if demo is None else ReadyImage(demo.path, demo.virtual_size_bytes, stand_in=True)
        job = self._begin(name, source)
        if job.phase is wire.Phase.FAILED:
            raise ImageFailed(f"image {name}: {job.failure}", retry_after_s=RETRY_AFTER_S)
        return None

    def stand_in(self, name: str) -> None:
        """From now until the next start the demo disk stands in for this image, unless it is ready."""
        self._stand_ins.add(name)
        _log.warning("the demo disk stands in for an image", image=name, until="the next start")

    def know(self, name: str, spec: wire.ImageSpec) -> None:
        """Add an image that the operator named at the start, as trusted as the catalogue."""
        self._known[name] = spec

    # -- how -------------------------------------------------------------------------------------------

    def _source(self, name: str) -> Source:
        if name == DEMO:
            return Source(self._demo_key(), None, Everywhere())
        if name in self._known:
            return Source(_key(self._known[name]), self._known[name], Everywhere())
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

    def _check(self, name: str, spec: wire.ImageSpec) -> None:
        """What can be known before anything is fetched. Raises Invalid."""
        if len({convert.packing(url) for url in spec.urls}) > 1:
            raise Invalid(f"the image {name} has URLs of differently packed files, which cannot have one digest")
        for url in spec.urls:
            try:
                self._allowed.check_url(url)
            except Refused as error:
                raise Invalid(f"the image {name} is refused: {error}") from error

    def _raw(self, source: Source) -> Path:
        return self._folder / f"{source.key}.raw"

    def _begin(self, name: str, source: Source) -> Job:
        """The job of this key: a new one, unless it is running or failed a moment ago."""
        with self._mutex:
            job = self._jobs.get(source.key)
            if job is not None:
                fresh_failure = time.monotonic() - job.ended_at_s < RETRY_AFTER_S
                if job.phase is wire.Phase.WORKING or (job.phase is wire.Phase.FAILED and fresh_failure):
                    return job
            job = self._jobs[source.key] = Job()
            threading.Thread(target=self._work, args=(name, source, job), name=f"image {name}", daemon=True).start()
            return job

    def _work(self, name: str, source: Source, job: Job) -> None:
        log = _log.bind(image=name, key=source.key)
        with self._slots:
            log.info("making an image")
            try:
                self._make(source, job)
            except download.Stopped:
                return
            except ImageFailed as error:
                job.failure = error.detail
            except OSError as error:
                job.failure = f"the image could not be written to {self._folder}: {error.strerror or error}"
            except Exception as error:  # a bug must end as a failed image, not as one that works for ever
                log.exception("an image failed unexpectedly")
                job.failure = f"the image could not be made: {type(error).__name__}: {error}"
            job.ended_at_s = time.monotonic()
            if job.failure:
                log.error("an image failed", reason=job.failure)
                job.phase = wire.Phase.FAILED
            else:
                log.info("an image is ready")
                job.phase = wire.Phase.READY
        if not self._wanted(source.key):
            with self._mutex:
                for path in self._folder.glob(f"{source.key}.*"):
                    path.unlink()

    def _wanted(self, key: str) -> bool:
        return any(self._source(name).key == key for name in self._names())

    def _names(self) -> Sequence[str]:
        """Outside the container there may be no demo disk."""
        demo = {DEMO} if self._demo_disk.exists() else set()
        return sorted({*demo, *self._known, *self._ledger.images()})

    def _make(self, source: Source, job: Job) -> None:
        bounds = convert.Bounds(
            self._settings.image_max_bytes, self._settings.image_memory_bytes, self._settings.image_convert_timeout_s
        )
        work = self._folder / f"{source.key}.work"
        output = self._folder / f"{source.key}.work-raw"

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
                convert.to_raw(fetched, source.spec.format, output, bounds)
                fetched.unlink(missing_ok=True)
            _publish(output, self._raw(source))
        finally:
            work.unlink(missing_ok=True)
            output.unlink(missing_ok=True)

    def _fetch(self, source: Source, spec: wire.ImageSpec, progress: download.Progress) -> Path:
        """The bytes of the digest as a file of ours: from what the container carries, or from a URL."""
        partial = self._folder / f"{source.key}.partial"
        carried = self._settings.share_dir / "images" / spec.digest.replace(":", "-")
        if carried.exists() and download.digest_of(carried, spec.digest) == spec.digest:
            shutil.copyfile(carried, partial)
            return partial
        spare_bytes = shutil.disk_usage(self._folder).free - self._settings.reserve_bytes
        max_bytes = min(self._settings.image_max_bytes, spare_bytes)
        limits = download.Limits(max_bytes, self._settings.image_timeout_s, source.policy)
        download.fetch(spec.urls, spec.digest, partial, limits, progress, self._stopping.is_set)
        return partial


def _key(spec: wire.ImageSpec) -> str:
    packing = convert.packing(spec.urls[0])
    return "-".join(filter(None, (spec.digest.replace(":", "-"), spec.format.value, packing)))


def _publish(work: Path, final: Path) -> None:
    """Give a finished file its name, durably."""
    with work.open("rb") as file:
        os.fsync(file.fileno())
    work.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
