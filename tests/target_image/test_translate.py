"""A field that a request gains alone is not kept, and breaks nothing."""

from __future__ import annotations

from target_image.agent import translate
from target_image.agent.state import rows
from target_image.api import requests


class NewerOwner(requests.Owner):
    team: str = "blue"


class NewerImageSpec(requests.ImageSpec):
    mirror: str = "https://mirror.example.org"


DIGEST = f"sha256:{'0' * 64}"
URL = "https://example.org/disk.img"


def test_a_field_that_only_the_request_has_is_not_kept() -> None:
    assert translate.owner_to_row(NewerOwner(cluster="c", release="r")) == rows.Owner(cluster="c", release="r")
    spec = translate.image_spec_to_row(NewerImageSpec(urls=[URL], digest=DIGEST))
    assert spec == rows.ImageSpec(urls=(URL,), digest=DIGEST)


def test_an_owner_and_an_image_are_kept_whole() -> None:
    owner = requests.Owner(cluster="c", release="r", namespace="n", claim="data", claim_uid="u")
    kept = translate.owner_to_row(owner)
    assert kept is not None
    assert kept.model_dump() == owner.model_dump()
    spec = requests.ImageSpec.model_validate({"urls": [URL], "digest": DIGEST, "format": "iso", "licence": "MIT"})
    row = translate.image_spec_to_row(spec)
    answered = translate.image_spec_to_response(row)
    assert answered is not None
    assert row.model_dump(mode="json") == answered.model_dump(mode="json") == spec.model_dump(mode="json")
