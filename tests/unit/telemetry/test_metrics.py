"""What Prometheus reads: parsed by its own parser, named by its rules, bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from injector.telemetry.metrics import MOST_FILES, OTHER, FileNumbers, PluginNumbers, PrometheusMeter, Snapshot

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# name: (type, labels), as in the design (research, "Metrics")
EXPECTED = {
    "injector_build_info": ("gauge", {"version", "python"}),
    "injector_ready": ("gauge", set()),
    "injector_render_total": ("counter", {"file", "result"}),
    "injector_render_duration_seconds": ("histogram", set()),
    "injector_file_last_success_timestamp_seconds": ("gauge", {"file"}),
    "injector_file_stale": ("gauge", {"file"}),
    "injector_value_age_seconds": ("gauge", {"file"}),
    "injector_backend_requests_total": ("counter", {"backend", "call", "result"}),
    "injector_backend_request_duration_seconds": ("histogram", {"backend", "call"}),
    "injector_backend_throttled_total": ("counter", {"backend"}),
    "injector_cache_requests_total": ("counter", {"result"}),
    "injector_watch_events_total": ("counter", {"source"}),
    "injector_watch_heartbeat_timestamp_seconds": ("gauge", {"watcher"}),
    "injector_notify_total": ("counter", {"kind", "result"}),
    "injector_plugin_up": ("gauge", {"plugin"}),
    "injector_plugin_restarts_total": ("counter", {"plugin"}),
    "injector_config_reload_total": ("counter", {"result"}),
}
SNAPSHOT = Snapshot(
    ready=True,
    files=(FileNumbers("a.yml", stale=True, last_success=100.0, value_age=7.0), FileNumbers("b.yml")),
    plugins=(PluginNumbers("demo", up=True, restarts=2),),
    heartbeats={"rescan": 99.0},
)


@pytest.fixture
def meter() -> PrometheusMeter:
    """One that was told of each thing once."""
    meter = PrometheusMeter()
    meter.rendered("a.yml", "changed", 0.2)
    meter.fetched("AWSPARAMSTR", "ok", 0.1)
    meter.fetched("AWSPARAMSTR", "plugin-start-failed", 0.1, call="open")
    meter.throttled("AWSPARAMSTR")
    meter.cached("hit")
    meter.watched("inotify")
    meter.notified("signal", "ok")
    meter.reloaded("failed")
    return meter


def samples(meter: PrometheusMeter, snapshot: Snapshot | None = SNAPSHOT) -> dict[tuple[str, str], float]:
    text = meter.exposition(snapshot)[0].decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_every_metric_has_its_type_labels_and_help(meter: PrometheusMeter) -> None:
    found = {}
    for family in parse(meter.exposition(SNAPSHOT)[0].decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"[a-z_]+", name)
        assert family.documentation.endswith(".") or name.startswith("process_")
        assert family.samples, name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    own = {name: entry for name, entry in found.items() if not name.startswith("process_")}
    assert own == EXPECTED
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= found.keys()


def test_the_numbers_are_those_of_the_moment(meter: PrometheusMeter) -> None:
    numbers = samples(meter)
    assert numbers["injector_file_stale", "a.yml"] == 1
    assert numbers["injector_file_stale", "b.yml"] == 0
    assert numbers["injector_file_last_success_timestamp_seconds", "a.yml"] == 100
    assert ("injector_file_last_success_timestamp_seconds", "b.yml") not in numbers
    assert numbers["injector_value_age_seconds", "a.yml"] == 7
    assert numbers["injector_plugin_restarts_total", "demo"] == 2
    assert numbers["injector_watch_heartbeat_timestamp_seconds", "rescan"] == 99
    assert numbers["injector_backend_requests_total", "AWSPARAMSTR,fetch,ok"] == 1
    gone = samples(meter, Snapshot())
    assert ("injector_file_stale", "a.yml") not in gone
    assert ("injector_ready", "") not in gone


def test_openmetrics_when_it_is_asked_for(meter: PrometheusMeter) -> None:
    body, content_type = meter.exposition(SNAPSHOT, accept=OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(body.decode())}
    assert "injector_render" in families
    assert meter.exposition(SNAPSHOT, accept="text/html")[1].startswith("text/plain")


def test_ten_thousand_files_do_not_make_ten_thousand_series(meter: PrometheusMeter) -> None:
    for number in range(10_000):
        meter.rendered(f"f{number}", "changed", 0.01)
    files = tuple(FileNumbers(f"f{number}", stale=number == 9_999, value_age=number) for number in range(10_000))
    numbers = samples(meter, Snapshot(files=files))
    labels = {label for name, label in numbers if name == "injector_file_stale"}
    assert len(labels) == MOST_FILES  # a.yml, 999 others of f…, and the rest as one
    assert numbers["injector_file_stale", OTHER] == 1
    assert numbers["injector_value_age_seconds", OTHER] == 9_999
    assert numbers["injector_render_total", f"{OTHER},changed"] == 10_000 - (MOST_FILES - 1)


def test_strange_names_of_files_cannot_break_the_exposition() -> None:
    meter = PrometheusMeter()
    meter.rendered('a"b\\c\nd', "changed", 0.1)
    assert ("injector_render_total", 'a"b\\c\nd,changed') in samples(meter)


def test_the_page_has_every_metric_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(injector_\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == EXPECTED
