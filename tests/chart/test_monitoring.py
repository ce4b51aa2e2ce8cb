"""Alert rules and dashboard: every query can be parsed, and every metric in it is one that the programs have."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest

from provisioner.observing.metrics import Metrics
from tests.capabilities import need
from tests.chart.helm import Document, Helm, one
from tests.provisioner.stage import target_running

ON = {"metrics": {kind: {"enabled": True} for kind in ("prometheusRule", "serviceMonitor", "grafanaDashboard")}}


@pytest.fixture(scope="module")
def rendered(helm: Helm) -> list[Document]:
    return helm.render(ON)


def alerts(rendered: list[Document]) -> list[Document]:
    return [rule for group in one(rendered, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


def queries(rendered: list[Document]) -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts(rendered))
    dashboard = json.loads(one(rendered, "ConfigMap", "lundock-dashboard")["data"]["lundock.json"])
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$namespace", "lundock")


def test_queries_can_be_parsed(rendered: list[Document]) -> None:
    for query in queries(rendered):
        promql_parser.parse(query)


@pytest.mark.integration
def test_metrics_in_queries_exist(rendered: list[Document], tmp_path: Path) -> None:
    need("tgtd")
    with target_running(tmp_path, "measured") as target:
        port = next(word.partition("=")[2] for word in target.argv if word.startswith("--metrics-port="))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            exposed = answer.read().decode()
    exposed += Metrics().render().decode()
    there = set(re.findall(r"^# TYPE (\S+)", exposed, re.MULTILINE)) | {"up"}
    asked = {
        name for query in queries(rendered) for name in re.findall(r"\b(up|lundock_\w+|controller_\w+)\s*\{", query)
    }
    assert {re.sub(r"_bucket$", "", name) for name in asked} - there == set()


def test_phases_in_queries_are_phases_of_exports(rendered: list[Document]) -> None:
    asked = {phase for query in queries(rendered) for phase in re.findall(r'phase="([^"]+)"', query)}
    assert asked
    assert asked <= {"ready", "pending", "deleting", "offline"}  # docs/reference/target-api.md


def test_an_alert_says_what_to_do(rendered: list[Document]) -> None:
    for rule in alerts(rendered):
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_monitor_selects_services_that_have_the_port(rendered: list[Document]) -> None:
    monitor = one(rendered, "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    (expression,) = monitor["selector"]["matchExpressions"]
    services = [
        service
        for service in rendered
        if service["kind"] == "Service"
        and wanted <= service["metadata"]["labels"].items()
        and service["metadata"]["labels"].get(expression["key"]) in expression["values"]
    ]
    assert {service["metadata"]["name"] for service in services} == {"lundock-target", "lundock-provisioner"}
    for service in services:
        assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_panels_do_not_overlap(rendered: list[Document]) -> None:
    dashboard = json.loads(one(rendered, "ConfigMap", "lundock-dashboard")["data"]["lundock.json"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
