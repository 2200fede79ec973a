"""Dashboard and alerts of charts/injector ask for metrics and labels that sidecar and webhook export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from charts.helm import WEBHOOK, Renderer
from injector.telemetry.admission_metrics import AdmissionMetrics
from injector.telemetry.metrics import FileNumbers, PluginNumbers, PrometheusMeter, Snapshot

# Words of PromQL, labels that Prometheus adds by where it scraped, and variables of Grafana.
GIVEN = {"le", "namespace", "pod", "job", "instance", "quantile"}


def exported() -> dict[str, set[str]]:
    """Each series of a sidecar and a webhook that have done something, with its labels, as they are scraped."""
    sidecar, webhook = PrometheusMeter(), AdmissionMetrics()
    sidecar.rendered("a", "changed", 1)
    sidecar.fetched("A", "ok", 1)
    sidecar.throttled("A")
    sidecar.cached("hit")
    sidecar.watched("timer")
    sidecar.notified("http", "ok")
    sidecar.reloaded("ok")
    snapshot = Snapshot(
        ready=True,
        files=(FileNumbers(name="a", last_success=1.0, stale=False, value_age=1.0),),
        plugins=(PluginNumbers(name="a", up=True, restarts=1),),
        heartbeats={"timer": 1.0},
    )
    webhook.reviewed("injected", "ns", 1, 1)
    webhook.certificate("changed", 1.0)
    found: dict[str, set[str]] = {}
    for text in (sidecar.exposition(snapshot)[0], webhook.exposition()[0]):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions(render: Renderer) -> dict[str, str]:
    """What is asked, by who asks."""
    on = {"grafanaDashboard": {"enabled": True}, "prometheusRule": {"enabled": True}}
    dashboard = json.loads(render.one("ConfigMap", WEBHOOK, on)["data"]["injector.json"])
    asked = {
        f"panel {panel['title']}, {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    groups = render.one("PrometheusRule", WEBHOOK, on)["spec"]["groups"]
    return asked | {f"alert {rule['alert']}": rule["expr"] for group in groups for rule in group["rules"]}


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\binjector_\w+", expression))


def labels_of(expression: str) -> set[str]:
    lists: Iterable[str] = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    named = {name.strip() for each in lists for name in each.split(",")}
    return named | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))


def test_every_metric_and_label_that_is_asked_for_is_exported(render: Renderer) -> None:
    known = exported()
    asked = expressions(render)
    assert len(asked) > 15
    for who, expression in asked.items():
        metrics = metrics_of(expression)
        assert metrics, who
        assert metrics <= known.keys(), (who, metrics - known.keys())
        labels = set().union(*(known[name] for name in metrics))
        assert labels_of(expression) <= labels | GIVEN, (who, labels_of(expression) - labels)


def test_labels_of_legends_and_texts_are_those_of_the_answer(render: Renderer) -> None:
    on = {"grafanaDashboard": {"enabled": True}}
    dashboard = json.loads(render.one("ConfigMap", WEBHOOK, on)["data"]["injector.json"])
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
            assert shown <= labels_of(target["expr"]), (panel["title"], shown)


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ('sum by (le, a) (rate(injector_x_bucket{b=~"c"}[5m]))', {"injector_x_bucket"}, {"le", "a", "b"}),
        ("injector_ready == 0", {"injector_ready"}, set()),
    ],
)
def test_what_an_expression_asks_for_is_found(expression: str, metrics: set[str], labels: set[str]) -> None:
    assert (metrics_of(expression), labels_of(expression)) == (metrics, labels)
