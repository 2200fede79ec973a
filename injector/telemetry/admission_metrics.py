"""What the webhook counts, as Prometheus reads it."""

from __future__ import annotations

import platform
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

import injector
from injector.telemetry.metrics import BoundedNames

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
MOST_NAMESPACES: Final = 1_000


class AdmissionMetrics:
    """Counts in a registry of its own. Labels are bounded: beyond `MOST_NAMESPACES` the rest share `_other`."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._namespaces = BoundedNames(MOST_NAMESPACES)
        ProcessCollector(registry=registry)
        build = Info("injector_build", "Version of injector and of Python.", registry=registry)
        build.info({"version": injector.__version__, "python": platform.python_version()})
        self._requests = Counter(
            "injector_webhook_requests", "Reviews by what became of them.", ("result",), registry=registry
        )
        self._seconds = Histogram(
            "injector_webhook_request_duration_seconds",
            "Time from the whole review to its answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._injections = Counter(
            "injector_webhook_injections", "Pods that got the sidecar.", ("namespace",), registry=registry
        )
        self._warnings = Counter("injector_webhook_warnings", "Warnings that users were shown.", registry=registry)
        self._not_after = Gauge(
            "injector_webhook_certificate_not_after_timestamp_seconds",
            "When the served certificate ends.",
            registry=registry,
        )
        self._certificates = Counter(
            "injector_webhook_certificate_loads", "Looks for another certificate.", ("result",), registry=registry
        )

    def reviewed(self, result: str, namespace: str, seconds: float, warnings: int) -> None:
        """A review was answered: *result* is a word of `webhook.mutation` or `webhook.review`."""
        self._requests.labels(result).inc()
        self._seconds.observe(seconds)
        if result == "injected":
            self._injections.labels(self._namespaces.label(namespace)).inc()
        if warnings:
            self._warnings.inc(warnings)

    def certificate(self, result: str, not_after: float | None) -> None:
        """The certificate was looked at: *result* is `loaded` or `failed`; *not_after* since the epoch."""
        self._certificates.labels(result).inc()
        if not_after is not None:
            self._not_after.set(not_after)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All of it, and its media type, as *accept* (a header) asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
