"""
Traces by OpenTelemetry, when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set and the extra is there.

Spans: `pass`, `fetch` (one for each call of a backend), `render`, `publish`, `notify`. Attributes are names, counts and
codes, never a value nor a token's path. Without that variable nothing is imported.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import injector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from injector.telemetry.logs import Log

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Span:
    """Something that takes time. This one goes nowhere."""

    def set(self, **attributes: str | float | bool) -> None:
        """Adds facts to it."""

    def fail(self, code: str) -> None:
        """It ended with the error *code*."""


class Tracer:
    """Hands out spans. This one records nothing, for runs without traces."""

    @contextlib.contextmanager
    def span(self, name: str, **attributes: str | float | bool) -> Iterator[Span]:  # noqa: ARG002  # for others
        """
        A span for the time of the context, inside of the one that is open in this task.

        Of an exception that passes, the class is recorded and never the text.
        """
        yield _NOWHERE

    def close(self) -> None:
        """Sends what is left, some seconds at most. Blocks: call it when nothing else is to be done."""


_NOWHERE: Final = Span()
NO_TRACES: Final = Tracer()


def make_tracer(environment: Mapping[str, str], log: Log) -> Tracer:
    """
    The tracer that *environment* asks for; whoever asks for it closes it.

    Without the extra `otel`, or for a protocol that it does not speak, it warns once and records nothing.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(
        environment.get(name) for name in _ENDPOINTS
    ):
        return NO_TRACES
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") not in ("", "otlp"):
        return NO_TRACES
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("no traces", reason="the protocol is not http/protobuf", protocol=protocol)
        return NO_TRACES
    try:
        return _OtelTracer(log)
    except ImportError:
        log.warning("no traces", reason="the extra is not installed", install="kube-config-injector[otel]")
    except Exception as error:  # noqa: BLE001  # whatever a variable of OpenTelemetry holds: traces are not the work
        log.warning("no traces", reason="OpenTelemetry cannot be set up", kind=type(error).__qualname__)
    return NO_TRACES


class _OtelTracer(Tracer):
    def __init__(self, log: Log) -> None:
        import logging

        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # late: start-up
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Its complaints about a collector that is away, as one line of ours and without the exceptions' texts.
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.handlers = [_Handler(log)]
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before ours.
        named = Resource.create().attributes.get(SERVICE_NAME, "")
        own = {} if named and not str(named).startswith("unknown_service") else {SERVICE_NAME: "injector"}
        resource = Resource.create({**own, "service.version": injector.__version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("injector", injector.__version__)

    @contextlib.contextmanager
    def span(self, name: str, **attributes: str | float | bool) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as inner:
            span = _OtelSpan(inner)
            try:
                yield span
            except BaseException as error:
                span.fail(str(getattr(error, "code", "") or type(error).__qualname__))
                raise

    def close(self) -> None:
        self._provider.force_flush(5_000)
        self._provider.shutdown()


class _OtelSpan(Span):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def set(self, **attributes: str | float | bool) -> None:
        self._inner.set_attributes(attributes)

    def fail(self, code: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._inner.set_attribute("error.type", code)
        self._inner.set_status(Status(StatusCode.ERROR))


def _Handler(log: Log) -> Any:  # noqa: N802  # makes a class whose base is imported late
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.warning("traces", source=record.name, line=f"{record.module}:{record.lineno}")

    return Handler(logging.WARNING)
