"""What a new volume starts as: what its target is asked to copy, and which target that is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from provisioner.errors import Permanent, Transient
from provisioner.kube.informer import Informer
from provisioner.planning import volumes
from provisioner.planning.claims import TARGET, CatalogueImage, ClaimRequest, Clone, Empty, UrlImage
from provisioner.planning.plan import is_ours, our_volume
from provisioner.planning.volumes import Identity
from provisioner.settings import ImageSettings
from provisioner.targets import Target, Targets
from target_image.api import echo, fields, requests, responses


@dataclass(frozen=True)
class Origin:
    """The volume that a clone is a copy of."""

    target: str
    volume_id: str


class Sources:
    """Thread-safe: it only looks, and registers images, which may be done again."""

    def __init__(
        self, targets: Targets, claims: Informer, pvs: Informer, identity: Identity, images: ImageSettings
    ) -> None:
        self._targets = targets
        self._claims = claims
        self._pvs = pvs
        self._identity = identity
        self._images = images

    def of(self, request: ClaimRequest, target: Target) -> requests.Source:
        """As the target takes it. Raises Permanent or Transient."""
        match request.source:
            case CatalogueImage(name):
                return requests.ImageSource(image=name)
            case UrlImage(url, digest):
                return requests.ImageSource(image=self._registered(target, url, digest))
            case Clone() as clone:
                origin = self._origin(request, clone)
                return requests.VolumeSource(volume=origin.volume_id, allow_in_use=clone.allow_in_use)
            case Empty():
                return requests.EmptySource()

    def clone_target(self, request: ClaimRequest, source: Clone, allowed: list[str]) -> str:
        """Where the clone has to be: a target copies its own volumes only. Raises Permanent or Transient."""
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
        return self._begun(request) or self._claimed(request, source)

    def _begun(self, request: ClaimRequest) -> Origin | None:
        """With several targets its own is noted on the claim before anything is made."""
        name = request.target or (next(iter(self._targets)) if len(self._targets) == 1 else "")
        if name not in self._targets:
            return None
        volume = self._targets[name].call("look for the copy", lambda client: client.get_volume(request.volume_id))
        if volume is None or not isinstance(volume.source, responses.VolumeSource):
            return None
        if echo.owner(volume.owner) != volumes.owner(self._identity, request.claim):
            return None
        return Origin(name, volume.source.volume)

    def _claimed(self, request: ClaimRequest, source: Clone) -> Origin:
        claim = self._claims.get(f"{request.claim.namespace}/{source.claim}")
        name = (claim["spec"].get("volumeName") or "") if claim else ""
        pv = self._pvs.get(name) if name else None
        if claim is None or pv is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise Transient(
                "SourceNotBound",
                f"waiting for claim {source.claim}, which is to be cloned, to be there and bound.",
                30.0,
            )
        if not is_ours(pv, self._identity):
            raise Permanent("BadDataSource", f"claim {source.claim} is not a volume of {self._identity.provisioner}.")
        if (pv["spec"].get("volumeMode") or "Filesystem") != request.volume_mode:
            raise Permanent("BadDataSource", f"claim {source.claim} has another volumeMode; ask for the same one.")
        ours = our_volume(pv, self._identity)
        if ours.capacity_bytes > request.size_bytes:
            raise Permanent(
                "CloneTooSmall",
                f"claim {source.claim} has {ours.capacity_bytes} bytes and its clone would have "
                f"{request.size_bytes}; ask for at least as much.",
            )
        return Origin(ours.target, ours.volume_id)

    def _registered(self, target: Target, url: str, digest: str) -> str:
        """The name under which the target knows the image at this URL; the same digest is the same image."""
        if not self._images.allow_urls:
            raise Permanent(
                "ImageUrlNotAllowed",
                "the provisioner's configuration does not allow images by URL (images.allowUrls); name an image of "
                "the catalogue.",
            )
        prefixes = self._images.url_prefixes
        if prefixes and not any(url.startswith(prefix) for prefix in prefixes):
            raise Permanent("ImageUrlNotAllowed", f"{url} is not allowed; allowed are {', '.join(prefixes)}.")
        name = f"url-{hashlib.sha256(f'{url}#{digest}'.encode()).hexdigest()[:40]}"
        path = url.lower().partition("?")[0].removesuffix(".gz").removesuffix(".xz")
        kinds = {".qcow2": fields.ImageFormat.QCOW2, ".iso": fields.ImageFormat.ISO}
        form = next((kind for end, kind in kinds.items() if path.endswith(end)), fields.ImageFormat.RAW)
        spec = requests.ImageSpec(urls=[url], digest=digest, format=form)
        target.call(f"register the image {url}", lambda client: client.put_image(name, spec))
        return name
