"""What a new volume starts as: what its target is asked to copy, and which target that is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from provisioner.context import Caches, Context
from provisioner.errors import Permanent, Transient
from provisioner.planning import volumes
from provisioner.planning.claims import TARGET, CatalogueImage, ClaimRequest, Clone, Empty, UrlImage
from provisioner.planning.plan import is_ours, our_volume
from provisioner.targets import Target
from target_image.api import fields, requests, responses


@dataclass(frozen=True)
class Origin:
    """The volume that a clone is a copy of."""

    target: str
    volume_id: str


class Sources:
    """Thread-safe. All that it changes is that a target knows an image, which may be done again."""

    def __init__(self, context: Context, caches: Caches) -> None:
        self._context = context
        self._caches = caches

    def ensure_on_target(self, request: ClaimRequest, target: Target) -> requests.Source:
        """Register an image by URL on the target.

        Returns:
            The source as the target takes it.

        Raises:
            Permanent: it may not be used, or cannot be cloned.
            Transient: it is not there yet.
        """
        match request.source:
            case CatalogueImage(name):
                return requests.ImageSource(image=name)
            case UrlImage(url, digest):
                return requests.ImageSource(image=self._register_image(target, url, digest))
            case Clone() as clone:
                origin = self._origin(request, clone)
                return requests.VolumeSource(volume=origin.volume_id, allow_in_use=clone.allow_in_use)
            case Empty():
                return requests.EmptySource()

    def clone_target(self, request: ClaimRequest, source: Clone, allowed: list[str]) -> str:
        """Where the clone has to be: a target copies its own volumes only.

        Raises:
            Permanent: the claim cannot be cloned, or its target is not an allowed one.
            Transient: the claim is not there and bound yet, or a target does not answer.
        """
        target = self._origin(request, source).target
        if target not in allowed:
            raise Permanent(
                "CloneElsewhere",
                f"claim {source.claim} is on target {target}, where StorageClass {request.storage_class.name} or the "
                f"annotation {TARGET} does not let its clone be; use a class that does.",
            )
        return target

    def _origin(self, request: ClaimRequest, source: Clone) -> Origin:
        """A copy that has begun goes on as it began, even if its source's claim has gone or grown meanwhile."""
        return self._origin_of_begun_copy(request) or self._origin_by_claim(request, source)

    def _origin_of_begun_copy(self, request: ClaimRequest) -> Origin | None:
        """With several targets its own is noted on the claim before anything is made."""
        name = request.target or (next(iter(self._context.targets)) if len(self._context.targets) == 1 else "")
        if name not in self._context.targets:
            return None
        volume = self._context.targets[name].get_volume(request.volume_id)
        if volume is None or not isinstance(volume.source, responses.VolumeSource):
            return None
        if not volumes.is_owned(volume, self._context.identity, request.claim):
            return None
        return Origin(name, volume.source.volume)

    def _origin_by_claim(self, request: ClaimRequest, source: Clone) -> Origin:
        claim = self._caches.claims.get(f"{request.claim.namespace}/{source.claim}")
        name = (claim["spec"].get("volumeName") or "") if claim else ""
        pv = self._caches.pvs.get(name) if name else None
        if claim is None or pv is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise Transient(
                "SourceNotBound",
                f"waiting for claim {source.claim}, which is to be cloned, to be there and bound.",
                30.0,
            )
        if not is_ours(pv, self._context.identity):
            raise Permanent(
                "BadDataSource", f"claim {source.claim} is not a volume of {self._context.identity.provisioner}."
            )
        if (pv["spec"].get("volumeMode") or "Filesystem") != request.volume_mode:
            raise Permanent("BadDataSource", f"claim {source.claim} has another volumeMode; ask for the same one.")
        ours = our_volume(pv, self._context.identity)
        if ours.capacity_bytes > request.size_bytes:
            raise Permanent(
                "CloneTooSmall",
                f"claim {source.claim} has {ours.capacity_bytes} bytes and its clone would have "
                f"{request.size_bytes}; ask for at least as much.",
            )
        return Origin(ours.target, ours.volume_id)

    def _register_image(self, target: Target, url: str, digest: str) -> str:
        """Have the target know the image at this URL; the same URL and digest have the same name."""
        if not self._context.settings.images.allow_urls:
            raise Permanent(
                "ImageUrlNotAllowed",
                "the provisioner's configuration does not allow images by URL (images.allowUrls); name an image of "
                "the catalogue.",
            )
        prefixes = self._context.settings.images.url_prefixes
        if prefixes and not any(url.startswith(prefix) for prefix in prefixes):
            raise Permanent("ImageUrlNotAllowed", f"{url} is not allowed; allowed are {', '.join(prefixes)}.")
        name = f"url-{hashlib.sha256(f'{url}#{digest}'.encode()).hexdigest()[:40]}"
        path = url.lower().partition("?")[0].removesuffix(".gz").removesuffix(".xz")
        kinds = {".qcow2": fields.ImageFormat.QCOW2, ".iso": fields.ImageFormat.ISO}
        form = next((kind for end, kind in kinds.items() if path.endswith(end)), fields.ImageFormat.RAW)
        spec = requests.ImageSpec(urls=[url], digest=digest, format=form)
        target.put_image(name, spec)
        return name
