"""
What a sidecar counts, as Prometheus and OpenMetrics read it. The only importer of `prometheus_client`.

Labels are bounded: beyond `MOST_FILES` templates and `MOST_NAMES` backends, plugins and workers, the rest share the
label `_other`; its counters are sums, and its gauges show the worst of the rest. docs/metrics.md lists every metric.
"""

from __future__ import annotations

import platform
import threading
from typing import TYPE_CHECKING, Final

import prometheus_client
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

import injector
from injector.telemetry.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

MOST_FILES: Final = 1_000
MOST_NAMES: Final = 100
OTHER: Final = "_other"
_RENDER_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class FileNumbers(Struct, frozen=True):
    """One file at this moment: time of the last success in seconds since the epoch, age of its oldest value."""

    name: str
    stale: bool = False
    last_success: float | None = None
    value_age: float | None = None


class PluginNumbers(Struct, frozen=True):
    """One plugin at this moment; `restarts` since the start of the program."""

    name: str
    up: bool
    restarts: int = 0


class Snapshot(Struct, frozen=True):
    """What is read at the moment of a scrape. `heartbeats`: worker to when it last completed something (epoch)."""

    ready: bool | None = None
    files: tuple[FileNumbers, ...] = ()
    plugins: tuple[PluginNumbers, ...] = ()
    heartbeats: Mapping[str, float] = {}


class BoundedNames:
    """Lets the first names through; those beyond *most* are `OTHER`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def label(self, name: str) -> str:
        with self._lock:
            if name in self._known:
                return name
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
            return name


class PrometheusMeter(Meter):
    """Counts in a registry of its own, from any thread."""

    def __init__(self) -> None:
        # Else a second series for each counter.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._files = BoundedNames(MOST_FILES)
        self._backends = BoundedNames(MOST_NAMES)
        self._scrape = threading.Lock()
        self._moment = _Moment(self._files)
        registry.register(self._moment)
        ProcessCollector(registry=registry)
        build = Info("injector_build", "Version of injector and of Python.", registry=registry)
        build.info({"version": injector.__version__, "python": platform.python_version()})
        self._renders = Counter(
            "injector_render",
            "Renders of a file by result: changed, unchanged, failed, stale.",
            ("file", "result"),
            registry=registry,
        )
        self._render_seconds = Histogram(
            "injector_render_duration_seconds", "Time to render a file.", buckets=_RENDER_BUCKETS, registry=registry
        )
        self._requests = Counter(
            "injector_backend_requests",
            "Calls of a backend by result: ok or the code of an error.",
            ("backend", "call", "result"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "injector_backend_request_duration_seconds",
            "Time of a call of a backend.",
            ("backend", "call"),
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._throttled = Counter(
            "injector_backend_throttled",
            "Times that a backend said it is asked too often.",
            ("backend",),
            registry=registry,
        )
        self._cache = Counter(
            "injector_cache_requests", "Values that were wanted: hit, miss, expired.", ("result",), registry=registry
        )
        self._watch_events = Counter(
            "injector_watch_events", "Reasons to look again by source.", ("source",), registry=registry
        )
        self._notifications = Counter(
            "injector_notify", "Notifications by kind and result.", ("kind", "result"), registry=registry
        )
        self._reloads = Counter(
            "injector_config_reload", "Readings of changed settings by result.", ("result",), registry=registry
        )

    def rendered(self, file: str, result: str, seconds: float) -> None:
        self._renders.labels(self._files.label(file), result).inc()
        self._render_seconds.observe(seconds)

    def fetched(self, backend: str, result: str, seconds: float, *, call: str = "fetch") -> None:
        label = self._backends.label(backend)
        self._requests.labels(label, call, result).inc()
        self._request_seconds.labels(label, call).observe(seconds)

    def throttled(self, backend: str) -> None:
        self._throttled.labels(self._backends.label(backend)).inc()

    def cached(self, result: str) -> None:
        self._cache.labels(result).inc()

    def watched(self, source: str) -> None:
        self._watch_events.labels(source).inc()

    def notified(self, kind: str, result: str) -> None:
        self._notifications.labels(kind, result).inc()

    def reloaded(self, result: str) -> None:
        self._reloads.labels(result).inc()

    def exposition(self, snapshot: Snapshot | None = None, *, accept: str = "") -> tuple[bytes, str]:
        """
        Everything at this moment, and its content type: OpenMetrics when *accept* asks for it, else Prometheus' text.

        *snapshot* has what is read, not counted; None leaves it out.
        """
        encode, content_type = choose_encoder(accept)
        with self._scrape:
            self._moment.snapshot = snapshot or Snapshot()
            return encode(self._registry), content_type


class _Moment:
    """Gauges that are worked out at each scrape."""

    def __init__(self, files: BoundedNames) -> None:
        self._files = files
        self._names = BoundedNames(MOST_NAMES)
        self.snapshot = Snapshot()

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        snapshot = self.snapshot
        if snapshot.ready is not None:
            yield GaugeMetricFamily(
                "injector_ready", "Whether every required file is rendered and fresh enough.", float(snapshot.ready)
            )
        yield from self._of_files(snapshot.files)
        yield from self._of_plugins(snapshot.plugins)
        yield _gauge(
            "injector_watch_heartbeat_timestamp_seconds",
            "When a worker last completed something.",
            "watcher",
            self._lowest((worker, at) for worker, at in snapshot.heartbeats.items()),
        )

    def _of_files(self, files: Iterable[FileNumbers]) -> Iterable[Metric]:
        success: dict[str, float] = {}
        stale: dict[str, float] = {}
        age: dict[str, float] = {}
        for file in files:
            label = self._files.label(file.name)
            stale[label] = max(stale.get(label, 0.0), float(file.stale))
            if file.last_success is not None:
                success[label] = min(success.get(label, file.last_success), file.last_success)
            if file.value_age is not None:
                age[label] = max(age.get(label, 0.0), file.value_age)
        yield _gauge(
            "injector_file_last_success_timestamp_seconds", "When a file was last rendered well.", "file", success
        )
        yield _gauge("injector_file_stale", "1 while a file is not what it should be.", "file", stale)
        yield _gauge("injector_value_age_seconds", "Age of the oldest value in a file.", "file", age)

    def _of_plugins(self, plugins: Iterable[PluginNumbers]) -> Iterable[Metric]:
        up: dict[str, float] = {}
        restarts: dict[str, float] = {}
        for plugin in plugins:
            label = self._names.label(plugin.name)
            up[label] = min(up.get(label, 1.0), float(plugin.up))
            restarts[label] = restarts.get(label, 0.0) + plugin.restarts
        yield _gauge("injector_plugin_up", "Whether a plugin runs.", "plugin", up)
        family = CounterMetricFamily(
            "injector_plugin_restarts", "Starts of a plugin after its first.", labels=("plugin",)
        )
        for label, number in restarts.items():
            family.add_metric((label,), number)
        yield family

    def _lowest(self, numbers: Iterable[tuple[str, float]]) -> dict[str, float]:
        lowest: dict[str, float] = {}
        for name, number in numbers:
            label = self._names.label(name)
            lowest[label] = min(lowest.get(label, number), number)
        return lowest


def _gauge(name: str, text: str, label: str, numbers: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in numbers.items():
        family.add_metric((value,), number)
    return family
