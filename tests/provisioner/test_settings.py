from __future__ import annotations

from pathlib import Path

import pytest

import provisioner
from provisioner import settings
from provisioner.errors import SettingsError

MINIMAL = {"release": "ns/x", "targets": [{"name": "a", "url": "http://a:8081", "portalHost": "a"}]}


def test_the_example_is_a_usable_configuration_and_shows_every_field() -> None:
    file = Path(provisioner.__file__).with_name("example.yaml")
    loaded = settings.load(file)
    text = file.read_text()

    def missing(section: type[settings.Section]) -> list[str]:
        names = []
        for field in section.model_fields.values():
            if f"{field.alias}:" not in text:
                names.append(str(field.alias))
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(kind, type) and issubclass(kind, settings.Section):
                    names += missing(kind)
        return names

    assert missing(settings.Settings) == []
    assert loaded.targets[0].name == "lundock-target-0"


def test_every_field_is_explained() -> None:
    for section in settings.Section.__subclasses__():
        for name, field in section.model_fields.items():
            assert field.description or issubclass(type(field.default), settings.Section), f"{section.__name__}.{name}"


def test_the_examples_values_are_the_defaults() -> None:
    example = settings.load(Path(provisioner.__file__).with_name("example.yaml"))
    minimal = settings.parse(MINIMAL, "x")
    for name in ("kubernetes", "queue", "target_calls", "images", "sweep", "http", "log", "tracing"):
        assert getattr(example, name) == getattr(minimal, name), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"targets": []}, "targets"),
        ({"targets": [*MINIMAL["targets"], *MINIMAL["targets"]]}, "used twice"),
        ({"targets": [{"name": "A", "url": "http://a", "portalHost": "a"}]}, "targets.0.name"),
        ({"targets": [{"name": "a", "url": "a:8081", "portalHost": "a"}]}, "https://host:8081"),
        ({"targets": [{"name": "a", "url": "https://u:p@a", "portalHost": "a"}]}, "without credentials"),
        ({"leaderElection": {"renewDeadlineSeconds": 20}}, "retryPeriodSeconds < renewDeadlineSeconds"),
        ({"images": {"urlPrefixes": ["https://example.com"]}}, "must be a URL with a path"),
        ({"worker": 3}, "worker: Extra inputs are not permitted"),
        ({"queue": {"workers": 0}}, "queue.workers"),
        ({"sweep": {"mode": "delete"}}, "sweep.mode"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match="not a usable configuration") as caught:
        settings.parse(MINIMAL | change, "file.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize("content", ["", "[", "a: b: c"])
def test_a_file_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=str(file)):
        settings.load(file)
    with pytest.raises(SettingsError, match="cannot read"):
        settings.load(tmp_path / "missing.yaml")


def test_the_master_key(tmp_path: Path) -> None:
    key = tmp_path / "key"

    def loaded(path: Path | None) -> bytes | None:
        chap = {"masterKeyFile": str(path)} if path else {}
        return settings.master_key(settings.parse(MINIMAL | {"chap": chap}, "x"))

    assert loaded(None) is None
    with pytest.raises(SettingsError, match="cannot read"):
        loaded(key)
    key.write_bytes(b"short")
    with pytest.raises(SettingsError, match="at least 32"):
        loaded(key)
    key.write_bytes(b"k" * 32 + b"\n")
    assert loaded(key) == b"k" * 32
