"""Faults of backends (docs/faults.md): the command and the Parameter Store plugin before a service that fails."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")
CANARY = "canary-from-the-service"
KEYS = {
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "AWS_EC2_METADATA_DISABLED": "true",
}
PLUGIN = f"#!/bin/sh\nexec {sys.executable} -m injector_awsparamstr\n"


def answer(status: int, body: object, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def value(text: str = "the value", version: int = 1) -> bytes:
    return answer(200, {"Parameter": {"Name": "/a", "Type": "String", "Value": text, "Version": version}})


def refusal(code: str, status: int = 400, **headers: str) -> bytes:
    return answer(status, {"__type": code, "message": CANARY}, **headers)


class Service:
    """A server of one connection a request: `respond(number, head, connection)` gives the bytes, None when it sent."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.respond: Callable[[int, str, socket.socket], bytes | None] = lambda *_: value()
        self.requests: list[tuple[float, str]] = []
        self.ended = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            stream = self._context.wrap_socket(connection, server_side=True) if self._context else connection
            with stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += (chunk := stream.recv(65536))
                    if not chunk:
                        return
                self.requests.append((time.monotonic(), head.decode("latin-1")))
                data = self.respond(len(self.requests), head.decode("latin-1"), stream)
                if data is not None:
                    stream.sendall(data)
                    stream.shutdown(socket.SHUT_WR)


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    yield server
    server.close()


@pytest.fixture
def render(tmp_path: Path, socket_base: Path):
    """`render(url, NAME="value")`: the command with one token, unless `template=` says otherwise."""

    def run(
        url: str, *arguments: str | Path, template: str = "AWSPARAMSTR:///a\n", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(socket_base)}
        done = subprocess.run(
            [INJECTOR, "render", "-", *arguments],
            input=template,
            env=base | KEYS | {"AWS_ENDPOINT_URL_SSM": url} | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        told = done.stdout + done.stderr
        assert "Traceback" not in told
        assert CANARY not in told
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in told
        return done

    return run


def assert_one_error(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error:") == 1, done.stderr
    assert said in done.stderr


# ------------------------------------------------------------------------------------------------------- throttling


@pytest.mark.fault(56, "the pause that the backend asks for, then the value")
@pytest.mark.parametrize(("code", "status"), [("ThrottlingException", 400), ("TooManyRequests", 429)])
def test_a_service_that_asks_for_a_pause_gets_it(service, render, code: str, status: int) -> None:
    service.respond = lambda number, *_: refusal(code, status, Retry_After="1") if number <= 2 else value()
    done = render(service.url)
    assert (done.returncode, done.stdout) == (0, "the value\n"), done.stderr
    first, second, third = (at for at, _ in service.requests)
    assert second - first >= 1
    assert third - second >= 1


@pytest.mark.fault(56, "one error at the run's time-out; few calls")
def test_a_service_that_only_throttles_is_an_error_at_the_deadline_after_few_calls(service, render) -> None:
    service.respond = lambda *_: refusal("ThrottlingException")
    assert_one_error(render(service.url, "--timeout", "4s"), 5, "throttle")
    assert 2 <= len(service.requests) <= 30


# ---------------------------------------------------------------------------------------------------- down and slow


@pytest.mark.fault(58, "exit code 5 and one error that names the endpoint, after a few attempts")
def test_a_service_where_nobody_listens_is_one_error(render) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert_one_error(render(url), 5, f"{url} cannot be reached")


@pytest.mark.fault(58, "a service that is back within the attempts costs nothing")
def test_a_service_that_comes_back_is_asked_again(service, render) -> None:
    service.respond = lambda number, *_: refusal("InternalServerError", 500) if number == 1 else value()
    done = render(service.url)
    assert (done.returncode, done.stdout) == (0, "the value\n"), done.stderr
    assert len(service.requests) == 2


@pytest.mark.fault(58, "a service that takes connections and says nothing is a time-out of the run")
def test_a_service_that_says_nothing_is_a_timeout(service, render) -> None:
    service.respond = lambda *_: service.ended.wait(100) and None
    started = time.monotonic()
    assert_one_error(render(service.url, "--timeout", "3s"), 5, "within the run's 3 s")
    assert time.monotonic() - started < 60


@pytest.mark.fault(61, "a time-out of the run")
def test_a_body_that_drips_is_a_timeout(service, render) -> None:
    def drip(number: int, head: str, stream: socket.socket) -> None:
        stream.sendall(b"HTTP/1.1 200 x\r\nContent-Length: 100000\r\n\r\n")
        while not service.ended.wait(0.2):
            stream.sendall(b"x")

    service.respond = drip
    started = time.monotonic()
    assert_one_error(render(service.url, "--timeout", "8s"), 5, "within the run's 8 s")
    assert time.monotonic() - started < 60


@pytest.mark.fault(61, "exit code 5 and one error that names the endpoint")
@pytest.mark.parametrize(
    "begun",
    [b"", b"HTTP/1.1 200 x\r\nContent-Le", b'HTTP/1.1 200 x\r\nContent-Length: 5000\r\n\r\n{"Parameter'],
    ids=len,
)
def test_a_connection_that_ends_half_way_is_one_error(service, render, begun: bytes) -> None:
    service.respond = lambda *_: begun
    assert_one_error(render(service.url), 5, service.url)
    assert len(service.requests) <= 4


@pytest.mark.fault(61, "HTML with status 200: exit code 5 and one error that asks for a proxy in between")
def test_a_portal_that_answers_in_html_is_one_error(service, render) -> None:
    service.respond = lambda *_: answer(200, f"<html>{CANARY}</html>".encode(), Content_Type="text/html")
    assert_one_error(render(service.url), 5, service.url)
    assert len(service.requests) <= 4


# -------------------------------------------------------------------------------------------------------------- TLS


def certificate(folder: Path, *, name: str = "127.0.0.1", days: int = 30) -> tuple[Path, Path]:
    """A self-signed certificate for an address that ends *days* from now, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name} {days}")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=60))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}-{days}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file = folder / f"{name}-{days}.key"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file, key_file


@contextlib.contextmanager
def tls_service(files: tuple[Path, Path]) -> Iterator[Service]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = Service(context)
    try:
        yield server
    finally:
        server.close()


def test_over_tls_with_a_certificate_that_is_vouched_for_there_is_a_value(render, tmp_path) -> None:
    files = certificate(tmp_path)
    with tls_service(files) as server:
        done = render(server.url, AWS_CA_BUNDLE=str(files[0]))
    assert (done.returncode, done.stdout) == (0, "the value\n"), done.stderr


@pytest.mark.fault(61, "TLS that does not check out: exit code 5, one error; no request is sent")
@pytest.mark.parametrize("wrong", ["another authority", "expired", "another name"])
def test_over_tls_that_does_not_check_out_nothing_is_asked(render, tmp_path, wrong: str) -> None:
    (tmp_path / "other").mkdir()
    files = certificate(
        tmp_path, days=-1 if wrong == "expired" else 30, name="127.0.0.2" if wrong == "another name" else "127.0.0.1"
    )
    trusted = certificate(tmp_path / "other")[0] if wrong == "another authority" else files[0]
    with tls_service(files) as server:
        assert_one_error(render(server.url, AWS_CA_BUNDLE=str(trusted)), 5, f"{server.url}: no TLS connection")
        assert server.requests == []


# ------------------------------------------------------------------------------------------------ elsewhere, nowhere


@pytest.mark.fault(62, "not followed: one error, and the other host is never asked")
def test_a_redirect_to_another_host_is_not_followed(service, render) -> None:
    other = Service()
    try:
        service.respond = lambda *_: answer(302, b"", Location=f"{other.url}/")
        done = render(service.url)
        assert done.returncode in {3, 5}, done.stderr
        assert done.stderr.count("error:") == 1
        assert other.requests == []
        assert len(service.requests) <= 4
    finally:
        other.close()


@pytest.mark.fault(65, "exit code 5 and one error that names the endpoint")
def test_a_name_that_does_not_resolve_is_one_error(render) -> None:
    url = "http://parameter-store.invalid"
    assert_one_error(render(url, "--timeout", "30s"), 5, url)


# ------------------------------------------------------------------------------------------ values that change or go


@pytest.mark.fault(63, "both from one version when the path is the same: it is fetched once")
def test_two_keys_of_one_value_are_of_one_version(service, render) -> None:
    service.respond = lambda number, *_: value(json.dumps({"a": number, "b": number}), number)
    done = render(service.url, template="AWSPARAMSTR:///a|a AWSPARAMSTR:///a|b\n")
    assert (done.returncode, done.stdout) == (0, "1 1\n"), done.stderr


@pytest.mark.fault(64, "one run: exit code 4 and the last good file as it was, never an empty one")
def test_a_value_that_was_deleted_leaves_the_last_good_file(service, render, tmp_path) -> None:
    output = tmp_path / "out"
    assert render(service.url, "-o", output).returncode == 0
    assert output.read_text() == "the value\n"
    service.respond = lambda *_: refusal("ParameterNotFound")
    assert_one_error(render(service.url, "-o", output), 4, "SSM has no parameter '/a'")
    assert output.read_text() == "the value\n"


# ------------------------------------------------------------------------------------------------------ credentials


@pytest.mark.fault(60, "one error, whatever the number of tokens, after few calls")
@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"])
def test_credentials_that_are_refused_cost_few_calls_however_many_tokens(service, render, code: str) -> None:
    service.respond = lambda *_: refusal(code)
    template = "".join(f"{{{{ AWSPARAMSTR:///{number} }}}}\n" for number in range(3000))
    done = render(service.url, template=template)
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert len(service.requests) <= 100  # of 300: those that were under way


@pytest.mark.fault(60, "a file of credentials that is replaced is read again")
async def test_credentials_that_are_rotated_are_read_again(service, start_backend, install, tmp_path) -> None:
    from injector import errors
    from injector.model.references import Reference, Value

    file = tmp_path / "credentials"

    def rotate(key: str) -> None:
        (tmp_path / "new").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s-{key}\n")
        (tmp_path / "new").rename(file)

    current = "AKIAFIRST"
    service.respond = lambda _, head, __: (
        value() if f"Credential={current}/" in head else refusal("ExpiredTokenException")
    )
    rotate(current)
    environment = {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_SSM": service.url, "AWS_EC2_METADATA_DISABLED": "true"}
    backend = await start_backend(install("awsparamstr", PLUGIN), AWS_SHARED_CREDENTIALS_FILE=str(file), **environment)

    async def ask() -> Any:
        ((_, outcome),) = [pair async for pair in backend.fetch([Reference("AWSPARAMSTR", "/a")], timeout=60)]
        return outcome

    assert isinstance(await ask(), Value)
    current = "AKIASECOND"
    assert isinstance(await ask(), errors.CredentialsRefused)
    rotate(current)
    deadline = time.monotonic() + 60
    while not isinstance(outcome := await ask(), Value):
        assert isinstance(outcome, errors.CredentialsRefused)
        assert time.monotonic() < deadline, "the file was never read again"
        time.sleep(0.2)
    assert len(service.requests) <= 5
