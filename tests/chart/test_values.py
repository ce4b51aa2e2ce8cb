"""values.yaml, its schema and its table: complete, current, and closed to typos."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from charts import generate
from cluster.errors import CommandFailed
from provisioner import settings as provisioner_settings
from target_image.agent.settings import Settings as TargetSettings
from tests.chart.helm import CHART, Helm, one

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
FREE = {"commonLabels", "resources", "nodeSelector", "affinity", "podAnnotations", "podLabels", "labels", "annotations"}
"""Objects whose keys are the user's own."""


def closed_objects(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and key not in FREE:
            yield from closed_objects(value, (*path, key))


def test_table_and_schema_are_what_values_yaml_says() -> None:
    for path, text in generate.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python charts/generate.py`"


def test_a_value_without_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target\.shards has no description"):
        list(generate.values("target:\n  shards: 1\n"))


@pytest.mark.parametrize("path", list(closed_objects(VALUES)), ids=lambda path: ".".join(path) or "values")
def test_a_typo_is_refused(helm: Helm, path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {}
    place = values
    for part in path:
        place = place.setdefault(part, {})
    place["tpyo"] = 1
    with pytest.raises(CommandFailed, match="'tpyo' not allowed"):
        helm.render(values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"target": {"replicas": 0}}, "/target/replicas"),
        ({"target": {"replicas": "two"}}, "/target/replicas"),
        ({"target": {"image": {"pullPolicy": "Sometimes"}}}, "/target/image/pullPolicy"),
        ({"target": {"settings": {"overcommit": 2}}}, "'overcommit' not allowed"),
        ({"target": {"settings": {"shards": 2}}}, "'shards' not allowed"),
        ({"provisioner": {"settings": {"sweep": {"mode": "on"}}}}, "/provisioner/settings/sweep/mode"),
        ({"provisioner": {"settings": {"targets": []}}}, "'targets' not allowed"),
        ({"storageClasses": [{"default": True}]}, "missing property 'name'"),
        ({"storageClasses": []}, "/storageClasses"),
        ({"storageClasses": [{"name": "a", "parameters": {"fstyp": "xfs"}}]}, "'fstyp' not allowed"),
        ({"storageClasses": [{"name": "a", "volumeBindingMode": "Immediate"}]}, "'volumeBindingMode' not allowed"),
        ({"target": {"persistence": {"size": "20 GB"}}}, "/target/persistence/size"),
        ({"target": {"persistence": {"emptyDirSizeLimit": "much"}}}, "/target/persistence/emptyDirSizeLimit"),
        ({"tests": {"size": ""}}, "/tests/size"),
        ({"metrics": {"serviceMonitor": {"interval": "30"}}}, "/metrics/serviceMonitor/interval"),
        ({"fullnameOverride": "a.b"}, "/fullnameOverride"),
        ({"chap": {"secrets": "everywhere"}}, "/chap/secrets"),
        ({"target": {"hostNetwork": {"initiators": ["node-1"]}}}, "/target/hostNetwork/initiators/0"),
        ({"target": {"hostNetwork": {"enabled": True}}}, "needs node"),
        (
            {"target": {"hostNetwork": {"enabled": True, "node": "n1", "address": "192.0.2.1"}}},
            "every node would discover every volume",
        ),
        (
            {
                "target": {
                    "replicas": 2,
                    "hostNetwork": {
                        "enabled": True,
                        "node": "n1",
                        "address": "192.0.2.1",
                        "initiators": ["iqn.1993-08.org.debian:01:abc"],
                    },
                }
            },
            "one release for each node",
        ),
        ({"target": {"engine": "lio"}}, r"needs target\.hostNetwork\.enabled"),
        ({"target": {"persistence": {"storageClassName": "lundock"}}}, "cannot lie on itself"),
        ({"api": {"tls": {"existingSecret": "mine", "certManager": {"enabled": True}}}}, "contradict each other"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_its_reason(helm: Helm, values: dict[str, Any], says: str) -> None:
    with pytest.raises(CommandFailed, match=says):
        helm.render(values)


def test_a_release_whose_name_no_service_could_have_is_refused(helm: Helm) -> None:
    first = replace(helm, release="1st")
    with pytest.raises(CommandFailed, match="set fullnameOverride"):
        first.render()
    assert first.render({"fullnameOverride": "first"})


def test_every_setting_of_the_agent_is_the_charts_or_the_users() -> None:
    fields = set(TargetSettings.model_fields)
    assert fields > generate.TARGET_OWN
    assert set(generate.target_settings()["properties"]) == fields - generate.TARGET_OWN


def test_settings_of_the_provisioner_reach_its_configuration(helm: Helm, tmp_path: Path) -> None:
    given = {"sweep": {"mode": "remove"}, "log": {"level": "debug"}, "leaderElection": {"retryPeriodSeconds": 3}}
    values = {"provisioner": {"settings": copy.deepcopy(given)}, "target": {"replicas": 2}}
    document = one(helm.render(values), "ConfigMap", "lundock-provisioner")
    configuration = tmp_path / "provisioner.yaml"
    configuration.write_text(document["data"]["provisioner.yaml"], encoding="utf-8")
    settings = provisioner_settings.load(configuration)
    assert settings.sweep.mode == "remove"
    assert settings.log.level == "debug"
    assert settings.leader_election.retry_period_seconds == 3
    assert settings.leader_election.name == "lundock-provisioner"
    assert settings.release == "lundock/lundock"
    assert [target.name for target in settings.targets] == ["lundock-target-0", "lundock-target-1"]
    assert [target.portal_host for target in settings.targets] == [
        "lundock-target-0.lundock.svc.cluster.local",
        "lundock-target-1.lundock.svc.cluster.local",
    ]


def test_the_schema_is_a_valid_schema_for_its_own_defaults() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(VALUES)
