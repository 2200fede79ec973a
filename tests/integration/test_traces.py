"""Traces arrive at a real OTLP receiver, and hold no value."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, eventually

INJECTOR = Path(sys.executable).with_name("injector")
CANARY = "canary-S3cret-4711"

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a receiver, and the spans that it got."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    spans: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            request = ExportTraceServiceRequest.FromString(data)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend((resource.resource, span) for span in scope.spans)
            body = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    thread.join()
    server.server_close()


def render(cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(INJECTOR), "render", "app.yml", "-o", "out.yml"]
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "SECRET": CANARY, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_render_sends_its_spans(tmp_path: Path, collector: tuple[str, list[Any]]) -> None:
    url, spans = collector
    (tmp_path / "app.yml").write_text("a: ENV://SECRET\n")
    done = render(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert (done.returncode, (tmp_path / "out.yml").read_text()) == (0, f"a: {CANARY}\n")
    by_name = {span.name: span for _, span in spans}
    assert by_name.keys() == {"pass", "fetch", "render", "publish"}
    for name in ("fetch", "render", "publish"):
        assert by_name[name].parent_span_id == by_name["pass"].span_id
    resource = {entry.key: entry.value.string_value for entry in spans[0][0].attributes}
    assert resource["service.name"] == "injector"
    attributes = {entry.key: entry.value for entry in by_name["fetch"].attributes}
    assert attributes["backend"].string_value == "ENV"
    assert attributes["references"].int_value == 1
    for _, span in spans:
        assert CANARY.encode() not in span.SerializeToString()
        assert b"SECRET" not in span.SerializeToString()


def test_a_sidecar_sends_the_spans_of_each_pass_and_notification(tmp_path: Path, collector: tuple[str, Any]) -> None:
    url, spans = collector
    (tmp_path / "templates").mkdir()
    for name in ("a", "b"):
        (tmp_path / "templates" / name).write_text(f"{name}: FILE://{tmp_path}/secret\n")
    secret, out = tmp_path / "secret", tmp_path / "out"
    secret.write_text(CANARY)
    sidecar = subprocess.Popen(
        [str(INJECTOR), "run", "templates", "--output-dir", "out", "--notify", "exec:true"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"},
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: any(span.name == "pass" for _, span in spans))
        assert (out / "b").read_text() == f"b: {CANARY}\n"
        (tmp_path / "new").write_text(CANARY + "-2")
        (tmp_path / "new").rename(secret)
        sidecar.send_signal(signal.SIGHUP)
        eventually(lambda: {span.name for _, span in spans} >= {"pass", "fetch", "render", "publish", "notify"})
        eventually(lambda: sum(span.name == "render" for _, span in spans) >= 4)
    finally:
        sidecar.terminate()
        assert sidecar.wait(PATIENCE) == 0
    passes = {span.span_id for _, span in spans if span.name == "pass"}
    for _, span in spans:
        if span.name in ("fetch", "render", "publish"):
            assert span.parent_span_id in passes
        assert CANARY.encode() not in span.SerializeToString()
    # One pass has the fetch, the renders that it was for, and the write of both files.
    (published, *_) = [span for _, span in spans if span.name == "publish"]
    assert {entry.key: entry.value.int_value for entry in published.attributes} == {"files": 2}
    siblings = [span.name for _, span in spans if span.parent_span_id == published.parent_span_id]
    assert sorted(siblings) == ["fetch", "publish", "render", "render"]
    whole = next(span for _, span in spans if span.span_id == published.parent_span_id)
    assert {entry.key: entry.value.int_value for entry in whole.attributes} == {"files": 2, "references": 1}
    (notified, *_) = [span for _, span in spans if span.name == "notify"]
    assert {entry.key: entry.value.string_value for entry in notified.attributes if entry.key == "kind"} == {
        "kind": "exec"
    }


def test_a_sidecar_whose_collector_is_away_ends_in_time(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a").write_text(f"FILE://{tmp_path}/secret\n")
    (tmp_path / "secret").write_text(CANARY)
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, answers nothing
        sidecar = subprocess.Popen(
            [str(INJECTOR), "run", "templates", "--output-dir", "out"],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hanging.getsockname()[1]}",
            },
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually((tmp_path / "out" / "a").exists)
        finally:
            sidecar.terminate()
            assert sidecar.wait(PATIENCE) == 0  # not ended by force, which is 143


def test_a_failed_render_is_marked_with_its_code_only(tmp_path: Path, collector: tuple[str, list[Any]]) -> None:
    url, spans = collector
    (tmp_path / "app.yml").write_text("a: ENV://SECRET|no.such.key\n")
    done = render(tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces", OTEL_SERVICE_NAME="mine")
    assert done.returncode == 4
    whole = next(span for _, span in spans if span.name == "pass")
    assert whole.status.code == 2
    assert {entry.key: entry.value.string_value for entry in whole.attributes}["error.type"] == "run-failed"
    assert not whole.events
    assert all(CANARY.encode() not in span.SerializeToString() for _, span in spans)
    assert {entry.value.string_value for entry in spans[0][0].attributes if entry.key == "service.name"} == {"mine"}


def test_a_collector_that_is_away_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("a: ENV://SECRET\n")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = render(tmp_path, **environment)
    assert (done.returncode, (tmp_path / "out.yml").read_text()) == (0, f"a: {CANARY}\n")
    assert "Traceback" not in done.stderr
    assert "traces" in done.stderr


def test_without_the_variable_nothing_is_imported_and_without_the_extra_it_warns_once(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text("a: ENV://SECRET\n")
    code = (
        "import sys\nfrom injector.cli.main import main\n"
        "if sys.argv[1:]: sys.modules['opentelemetry'] = None\n"
        "assert main(['render', 'app.yml', '-o', 'out']) == 0\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.')]\n"
    )
    base = {"PATH": os.environ["PATH"], "SECRET": CANARY}
    for arguments, extra, warnings in (([], {}, 0), (["x"], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, 1)):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            cwd=tmp_path,
            env=base | extra,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("no traces") == warnings
