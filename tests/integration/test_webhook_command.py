"""`injector webhook` as a process, spoken to over TLS."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, eventually
from webhook_reviews import D, a_pod, a_review, container, injected, variables

from injector.webhook.certificates import Material, issue
from injector.webhook.review import LARGEST

INJECTOR = Path(sys.executable).with_name("injector")
REVIEW = json.dumps(a_review(a_pod())).encode()
JSON = {"Content-Type": "application/json"}


class Server:
    """A webhook's process; `trusted` are the authorities (PEM) that its clients know."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.log = directory / "log"
        self.trusted = b""
        self.process: subprocess.Popen[bytes]
        self.port = 0

    def show(self, material: Material) -> None:
        """Puts a certificate into the files, as a mounted Secret does: each by a rename."""
        for path, content in ((self.certificate, material.certificate), (self.key, material.key)):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.rename(path)

    def issue(self) -> Material:
        material = issue(["127.0.0.1"], 3600.0, time.time())
        self.trusted += material.bundle[0]
        return material

    def start(self, *flags: str) -> None:
        command = [
            *(str(INJECTOR), "webhook", "--listen", "127.0.0.1:0", "--image", "registry.example/injector:1"),
            *("--cert-file", str(self.certificate), "--key-file", str(self.key), "--log-format", "json"),
            *("--check-interval", "100ms", "--shutdown-delay", "off", *flags),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.port = eventually(lambda: self.logged("listening"), "the listener")[0]["port"]

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.trusted.decode())

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.context())

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield from running(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that leave it as it was: whatever they send, it goes on."""
    yield from running(tmp_path_factory.mktemp("shared"))


def running(directory: Path) -> Iterator[Server]:
    found = Server(directory)
    found.show(found.issue())
    found.start()
    eventually(lambda: found.logged("certificate loaded"), "the certificate")
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.process.wait()


def test_a_pod_is_reviewed_counted_and_logged(server: Server) -> None:
    status, body = server.ask("POST", "/mutate", REVIEW, {"Content-Type": "application/json; charset=utf-8"})
    assert status == 200
    assert json.loads(body)["response"]["patchType"] == "JSONPatch"
    assert server.logged("review") == []
    wrong = json.dumps(a_review(a_pod({f"{D}templates": "hunter2 canary"}))).encode()
    server.ask("POST", "/mutate", wrong, JSON)
    (line,) = server.logged("review")
    assert (line["result"], line["namespace"], line["uid"]) == ("refused", "shop", "6ba7b810-9dad")
    assert "templates: expected names of ConfigMaps" in line["reason"]
    assert "canary" not in server.log.read_text()
    _, metrics = server.ask("GET", "/metrics")
    assert b'injector_webhook_requests_total{result="injected"} 1.0' in metrics
    assert b'injector_webhook_injections_total{namespace="shop"} 1.0' in metrics
    assert b"injector_webhook_certificate_not_after_timestamp_seconds 1" in metrics
    assert server.ask("GET", "/healthz") == (200, b"ok\n")
    assert server.ask("GET", "/readyz") == (200, b"ok\n")
    assert server.stop() == 0


@pytest.mark.fault(76, "wrong method, type, encoding or size is answered by a 4xx status and a review that says so")
@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "message"),
    [
        ("GET", {}, None, 405, "POST"),
        ("PUT", JSON, REVIEW, 405, "POST"),
        ("POST", {}, REVIEW, 415, "content type"),
        ("POST", {"Content-Type": "text/plain"}, REVIEW, 415, "content type"),
        ("POST", {"Content-Type": "application/jsonx"}, REVIEW, 415, "content type"),
        ("POST", {**JSON, "Content-Encoding": "gzip"}, gzip.compress(REVIEW), 415, "content encoding"),
        ("POST", JSON, gzip.compress(REVIEW), 400, "not JSON"),
        ("POST", JSON, b"", 400, "empty"),
        ("POST", JSON, b"x" * (LARGEST + 1), 413, "larger than"),
        ("POST", JSON, b"[" * 10_000_000, 413, "larger than"),
        ("POST", JSON, b" " * LARGEST, 400, "not"),
    ],
)
def test_hostile_requests(shared: Server, method: str, headers: Any, body: Any, status: int, message: str) -> None:
    found, answer = shared.ask(method, "/mutate", body, headers)
    assert found == status
    response = json.loads(answer)["response"]
    assert message in response["status"]["message"]
    assert not response["allowed"]
    assert shared.ask("POST", "/mutate", REVIEW, JSON)[0] == 200


def test_a_chunked_body_is_read_up_to_the_limit(shared: Server) -> None:
    parts = [REVIEW[at : at + 7] for at in range(0, len(REVIEW), 7)]
    assert shared.ask("POST", "/mutate", iter(parts), JSON)[0] == 200
    assert shared.ask("POST", "/mutate", iter([b"x" * 100_000] * 60), JSON)[0] == 413


@pytest.mark.fault(76, "a chunked body without an end is cut off, by its size or after 5 s, and others are answered")
@pytest.mark.parametrize(("chunk", "pause", "status"), [(b"x" * 65536, 0.0, b"413"), (b" ", 0.1, b"408")])
def test_a_chunked_body_without_an_end_is_cut_off(shared: Server, chunk: bytes, pause: float, status: bytes) -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw(shared) as endless:
        endless.sendall(head)
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # it is closed while we send
            for _ in range(10_000):  # 655 MB, or 17 minutes
                endless.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                if pause and select.select([endless], [], [], pause)[0]:
                    break
            else:
                pytest.fail("it takes whatever comes")
        with contextlib.suppress(ConnectionError):
            assert endless.recv(100).startswith(b"HTTP/1.1 " + status)
        assert shared.ask("POST", "/mutate", REVIEW, JSON)[0] == 200


def test_other_addresses_are_not_there(shared: Server) -> None:
    assert shared.ask("GET", "/")[0] == 404
    assert shared.ask("POST", "/metrics")[0] == 405


@pytest.mark.parametrize(
    "head",
    [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000, b"POST /mutate HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http_is_answered_by_400(shared: Server, head: bytes) -> None:
    with raw(shared) as plain:
        plain.sendall(head)
        assert plain.recv(100).startswith(b"HTTP/1.1 400")
    assert shared.ask("POST", "/mutate", REVIEW, JSON)[0] == 200


def raw(server: Server) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    return server.context().wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.fault(76, "who sends slowly is cut off after 5 s, and others are answered meanwhile")
def test_who_sends_slowly_is_cut_off(shared: Server) -> None:
    with raw(shared) as head, raw(shared) as body, socket.create_connection(("127.0.0.1", shared.port)) as silent:
        head.sendall(b"POST /mut")
        body.sendall(
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert shared.ask("POST", "/mutate", REVIEW, JSON)[0] == 200
        started = time.monotonic()
        assert body.recv(100).startswith(b"HTTP/1.1 408")
        assert ended(head)
        silent.settimeout(PATIENCE)  # not even a handshake
        assert ended(silent)
        assert time.monotonic() - started > 3


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except (ConnectionResetError, ssl.SSLEOFError):
        return True


def test_a_thousand_idle_connections_keep_nobody_out(server: Server) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2500:
        pytest.skip("this machine allows too few open files")
    server.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))  # for the server, too
    server.start()
    eventually(lambda: server.logged("certificate loaded"), "the certificate")
    context, idle = server.context(), []
    try:
        for _ in range(1050):
            plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            idle.append(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        assert server.ask("POST", "/mutate", REVIEW, JSON)[0] == 200
        assert ended(idle[0]), "the one that has waited longest makes room"
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Load(threading.Thread):
    """Asks again and again, each time by a new connection, or by one that is kept."""

    def __init__(self, server: Server, *, keep: bool = False) -> None:
        super().__init__(daemon=True)
        self.server, self.keep = server, keep
        self.answered, self.failures = 0, list[str]()
        self.over = threading.Event()
        self._kept: http.client.HTTPSConnection | None = None

    def run(self) -> None:
        while not self.over.is_set():
            try:
                connection = self._kept or self.server.connection()
                self._kept = connection if self.keep else None
                connection.request("POST", "/mutate", REVIEW, JSON)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                if not self.keep:
                    connection.close()
                self.answered += 1
            except Exception as error:  # noqa: BLE001  # each is told
                self.failures.append(repr(error))
                self._kept = None

    def end(self) -> None:
        self.over.set()
        self.join(PATIENCE)
        if self._kept:
            self._kept.close()


@pytest.mark.fault(
    80, "certificates that are rotated on disk are served without a restart and without a failed handshake"
)
def test_rotated_files_are_served_and_no_connection_fails(server: Server) -> None:
    materials = [server.issue() for _ in range(12)]
    loads = [Load(server), Load(server), Load(server, keep=True)]
    for load in loads:
        load.start()
    for number, material in enumerate(materials, start=2):
        server.show(material)
        eventually(lambda number=number: len(server.logged("certificate loaded")) == number, f"certificate {number}")
    for load in loads:
        load.end()
    assert [load.failures for load in loads] == [[], [], []]
    assert all(load.answered > 12 for load in loads)
    with raw(server) as last:
        der = last.getpeercert(binary_form=True)
    assert der == ssl.PEM_cert_to_DER_cert(materials[-1].certificate.decode())


@pytest.mark.fault(
    80, "a key that does not fit its certificate, or files that are gone, leave the old certificate in use"
)
def test_half_of_a_rotation_leaves_the_old_certificate(server: Server) -> None:
    material = server.issue()
    server.certificate.write_bytes(material.certificate)
    eventually(lambda: server.logged("no new certificate"), "the complaint")
    assert server.ask("POST", "/mutate", REVIEW, JSON)[0] == 200
    server.key.unlink()
    eventually(lambda: len(server.logged("no new certificate")) == 2, "the other complaint")
    assert server.ask("GET", "/readyz")[0] == 200
    server.key.write_bytes(material.key)
    eventually(lambda: len(server.logged("certificate loaded")) == 2, "the new certificate")
    assert server.ask("POST", "/mutate", REVIEW, JSON)[0] == 200


def test_it_is_not_ready_when_the_certificate_is_over(tmp_path: Path) -> None:
    server = Server(tmp_path)
    over = issue(["127.0.0.1"], 10.0, time.time() - 3600)
    server.show(over)
    server.start()
    try:
        eventually(lambda: server.logged("certificate loaded"), "the certificate")
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE, context=context)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 503
        connection.close()
    finally:
        assert server.stop() == 0


def test_on_sigterm_every_review_that_is_here_is_answered(server: Server) -> None:
    """And during the delay new ones are, too; /readyz says no by then."""
    server.stop()
    server.start("--shutdown-delay", "10s")
    eventually(lambda: server.logged("certificate loaded"), "the certificate")
    load = Load(server)
    load.start()
    eventually(lambda: load.answered > 3, "some answers")
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: server.logged("ending"), "the end's beginning")
    at_the_end = load.answered
    assert server.ask("GET", "/readyz")[0] == 503
    eventually(lambda: load.answered > at_the_end, "answers during the delay")
    assert load.failures == []
    load.end()
    assert server.process.wait(PATIENCE) == 0


def test_nonsense_behind_a_request_ends_that_connection_alone(shared: Server) -> None:
    head = (
        f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(REVIEW)}\r\n\r\n"
    )
    for junk in (b"\x00\x01\r\n\r\n", b"GET\r\n\r\n" * 100, head.encode() * 3):
        with raw(shared) as connection:
            connection.sendall(head.encode() + REVIEW + junk)
            connection.settimeout(PATIENCE)
            connection.recv(100)
    assert shared.ask("POST", "/mutate", REVIEW, JSON)[0] == 200
    assert "Traceback" not in shared.log.read_text()


def test_a_connection_that_is_kept_does_not_hold_up_the_end(server: Server) -> None:
    connection = server.connection()
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    assert server.stop() == 0
    connection.close()


@pytest.mark.parametrize("mode", ["native-sidecar", "sidecar", "init"])
def test_what_annotations_become_is_understood_by_the_sidecar(mode: str, tmp_path: Path) -> None:
    """The containers' arguments, variables and settings, with this machine's directories in place of the mounts."""
    lasting = {
        "refresh": "1m30s",
        "on-error": "fail",
        "max-stale": "1h",
        "splay": "off",
        "debounce-min": "1s",
        "debounce-max": "5s",
        "rescan": "1m",
        "prune": "true",
        "notify": "exec:/bin/true --now",
        "notify-app.conf": "signal:HUP:pid=1",
        "probes": "http",
        "port": str(free_port()),
    }
    wishes = {
        "templates": "shop",
        "perms-app.conf": "0640",
        "on-missing-app.conf": "empty",
        "mode": mode,
        "on-missing": "default",
        "default-value": "it's $(HOME) $$",
        "timeout": "30s",
        "envsubst": "false",
        "token-separator": "://",
        "key-separator": "^",
        "log-level": "debug",
        "log-format": "json",
        **(lasting if mode != "init" else {}),
    }
    pod = injected(a_pod({D + name: text for name, text in wishes.items()}))
    places = {"/injector/templates": "templates", "/injector/settings": "settings", "/config": "output", "/tmp": "tmp"}
    for name in places.values():
        (tmp_path / name).mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "templates" / "app.conf").write_text(f"a=[FILE://{tmp_path}/secret.json^b]\n")
    (tmp_path / "templates" / "other.conf").write_text(f"a=[FILE://{tmp_path}/secret.json^b]\n")
    (tmp_path / "settings" / "injector.yaml").write_text(pod["metadata"]["annotations"][f"{D}generated-settings"])

    def here(text: str) -> str:
        for there, name in places.items():
            if text.removeprefix("--output-dir=").startswith(there):
                return text.replace(there, str(tmp_path / name), 1)
        return text.replace("$$", "$")  # as the kubelet does

    name = "injector" if mode == "native-sidecar" else "injector-init"
    for ours in [container(pod, name), *([container(pod, "injector")] if mode == "sidecar" else [])]:
        given = {key: here(text) for key, text in variables(ours).items() if isinstance(text, str)}
        command = [str(INJECTOR), *map(here, ours["args"])]
        log = tmp_path / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, env={**os.environ, **given}, stderr=stream)
        try:
            if ours["args"][0] == "run":
                eventually(lambda given=given: health(given), f"the sidecar to have started: {log.read_text()}")
                process.terminate()
            assert process.wait(PATIENCE) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
        assert (tmp_path / "output" / "app.conf").read_text() == "a=[]\n"
        assert (tmp_path / "output" / "other.conf").read_text() == "a=[it's $(HOME) $$]\n"
        assert (tmp_path / "output" / "app.conf").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "output" / "other.conf").stat().st_mode & 0o777 == 0o644


def health(variables: dict[str, str]) -> bool:
    command = [str(INJECTOR), "health", "--startup"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "there is no certificate"),
        (["--cert-file", "x"], "there is no certificate"),
        (["--self-signed"], "--self-signed needs --secret"),
        (["--self-signed", "--secret", "a/b"], "needs --webhook-configuration and --dns-name"),
        (["--self-signed", "--cert-file", "x", "--key-file", "y"], "exclude each other"),
        (["--cert-file", "x", "--key-file", "y", "--mode", "daemon"], "--mode: expected one of"),
        (["--cert-file", "x", "--key-file", "y", "--run-as-user", "0"], "--run-as-user: expected"),
        (["--cert-file", "x", "--key-file", "y", "--listen", "8443"], "--listen: expected an address"),
        (["--cert-file", "x", "--key-file", "y", "--volume-size", "much"], "--volume-size: expected"),
    ],
)
def test_wrong_usage_ends_with_2(flags: list[str], message: str) -> None:
    command = [str(INJECTOR), "webhook", "--image", "i:1", *flags]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("KUBERNETES_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_ends_with_2(shared: Server) -> None:
    command = [
        *(str(INJECTOR), "webhook", "--image", "i:1", "--listen", f"127.0.0.1:{shared.port}"),
        *("--cert-file", str(shared.certificate), "--key-file", str(shared.key)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "--listen: the address cannot be used" in done.stderr


def test_variables_stand_for_flags(shared: Server) -> None:
    command = [str(INJECTOR), "webhook", "--image", "i:1", "--listen", f"127.0.0.1:{shared.port}"]
    environment = {
        **os.environ,
        "INJECTOR_WEBHOOK_CERT_FILE": str(shared.certificate),
        "INJECTOR_WEBHOOK_KEY_FILE": str(shared.key),
        "INJECTOR_WEBHOOK_MODE": "nonsense",
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    assert "--mode: expected one of" in done.stderr
