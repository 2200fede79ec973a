"""The HTTP of plugins, against servers that listen on this machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import ipaddress
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
from fixtures_http import OK, redirect

from injector.backends.wasm import http_address
from injector.backends.wasm.http_client import HttpClient, HttpRequest
from injector.backends.wasm.http_policy import HttpPolicy, address_of, parse_rule
from injector.backends.wasm.signing import Grant, Signers, VaultToken
from injector.errors import BackendUnavailable, CallTimeout, PluginHttpRefused
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def client(
    *hosts: str,
    signers: Signers | None = None,
    environment: dict[str, str] | None = None,
    log: Log | None = None,
    **policy,
) -> HttpClient:
    return HttpClient(
        HttpPolicy(hosts=tuple(map(parse_rule, hosts)), **policy),
        signers or Signers(),
        environment=environment or {},
        log=log or Log(Level.OFF),
        identity="demo:conn-1",
    )


def within(seconds: float) -> Callable[[], float]:
    deadline = time.monotonic() + seconds
    return lambda: deadline - time.monotonic()


def get(
    http: HttpClient, url: str, *headers: tuple[str, str], seconds: float = 30, method: str = "GET", body: bytes = b""
):
    return http.send(HttpRequest(method, url, headers, body), within(seconds))


def test_an_answer_has_status_headers_and_body(serve) -> None:
    server = serve(OK)
    response = get(client(server.origin), f"{server.origin}/a?b=c", ("X-Mine", "1"), ("Host", "evil.test"))
    assert (response.status, response.body) == (200, b"hi")
    assert [pair for pair in response.headers if pair[0] == "x-a"] == [("x-a", "1"), ("x-a", "2")]
    head = server.heads[0].decode()
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "evil.test" not in head
    assert "x-mine: 1\r\n" in head


def test_a_host_that_is_not_listed_is_never_connected_to(serve) -> None:
    server = serve(OK)
    with pytest.raises(PluginHttpRefused, match="is not allowed"):
        get(client("http://127.0.0.1:1"), server.origin)
    assert server.heads == []


def test_a_redirect_is_the_guests_by_default(serve) -> None:
    server = serve(redirect("http://127.0.0.1:1/x"))
    assert get(client(server.origin), server.origin).status == 302
    assert len(server.heads) == 1


def test_a_redirect_does_not_leave_the_list(serve) -> None:
    outside = serve(OK)
    server = serve(redirect(f"{outside.origin}/stolen"))
    with pytest.raises(PluginHttpRefused, match="is not allowed"):
        get(client(server.origin, redirects=3), server.origin, ("X-Vault-Token", "hvs.secret"))
    assert outside.heads == []


def test_no_credential_header_travels_to_another_listed_host(serve) -> None:
    other = serve(OK)
    server = serve(redirect(f"{other.origin}/there"))
    secrets = [(name, "hvs.secret") for name in ("X-Vault-Token", "Authorization", "Cookie", "X-Own-Key")]
    response = get(client(server.origin, other.origin, redirects=3), server.origin, *secrets, ("Accept", "a/b"))
    assert response.body == b"hi"
    assert b"hvs.secret" in server.heads[0]
    assert b"hvs.secret" not in other.heads[0]
    assert b"accept: a/b\r\n" in other.heads[0]


def test_headers_stay_when_the_redirect_stays_with_the_host(serve) -> None:
    answers = iter([redirect("/next"), OK])
    server = serve(lambda connection, head: connection.sendall(next(answers)))
    assert get(client(server.origin, redirects=1), server.origin, ("X-Vault-Token", "hvs.secret")).status == 200
    assert [b"hvs.secret" in head for head in server.heads] == [True, True]
    assert server.heads[1].startswith(b"GET /next ")


def test_a_signature_of_the_host_is_not_repeated_for_another(serve) -> None:
    other = serve(OK)
    server = serve(redirect(f"{other.origin}/"))
    grants = Signers((Grant((parse_rule(server.origin), parse_rule(other.origin)), VaultToken("hvs.secret")),))
    assert get(client(server.origin, other.origin, signers=grants, redirects=1), server.origin).status == 200
    assert b"x-vault-token: hvs.secret" in server.heads[0]
    assert b"hvs.secret" not in other.heads[0]


def test_another_host_does_not_choose_what_is_signed(serve) -> None:
    server = serve(lambda connection, head: connection.sendall(OK if b"/chosen" in head else redirect(other.origin)))
    other = serve(lambda connection, head: connection.sendall(redirect(f"{server.origin}/chosen")))
    grants = Signers((Grant((parse_rule(server.origin),), VaultToken("hvs.secret")),))
    assert get(client(server.origin, other.origin, signers=grants, redirects=3), server.origin).status == 200
    assert [b"hvs.secret" in head for head in server.heads] == [True, False]


def test_a_body_does_not_travel_to_another_host(serve) -> None:
    other = serve(OK)
    server = serve(redirect(f"{other.origin}/", 307))
    response = get(client(server.origin, other.origin, redirects=1), server.origin, method="POST", body=b"secret=1")
    assert response.status == 307
    assert other.heads == []


def test_a_post_that_is_redirected_becomes_a_get_without_a_body(serve) -> None:
    answers = iter([redirect("/next", 303), OK])
    server = serve(lambda connection, head: connection.sendall(next(answers)))
    get(client(server.origin, redirects=1), server.origin, ("Content-Type", "x/y"), method="POST", body=b"secret=1")
    assert server.heads[1].startswith(b"GET /next ")
    assert b"content-type" not in server.heads[1].lower()
    assert b"secret=1" not in server.heads[1]


def test_a_redirect_to_nonsense_is_no_answer(serve) -> None:
    server = serve(redirect("http://[nonsense"))
    with pytest.raises(BackendUnavailable, match="no URL"):
        get(client(server.origin, redirects=1), server.origin)


def test_redirects_end(serve) -> None:
    server = serve(redirect("/again"))
    assert get(client(server.origin, redirects=3), server.origin).status == 302
    assert len(server.heads) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"100\r\n" + b"x" * 256 + b"\r\n" * 1 + b"1000\r\n" + b"x" * 4096,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000 + b"\r\nY: " + b"y" * 60_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 100_000,
    ],
    ids=["length", "until-close", "chunked", "announced", "headers", "continues", "trailers"],
)
def test_an_answer_that_is_too_large_is_refused(serve, answer: bytes) -> None:
    server = serve(answer)
    with pytest.raises(PluginHttpRefused, match=r"too large|larger than 1000 bytes"):
        get(client(server.origin, max_response_bytes=1000), server.origin)


def test_a_compressed_answer_is_not_unpacked_here(serve) -> None:
    import gzip

    packed = gzip.compress(b"\0" * 10_000_000)
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
    assert get(client(server.origin), server.origin).body == packed
    assert b"Accept-Encoding: identity\r\n" in server.heads[0]


def drip(connection: socket.socket, head: bytes, start: bytes = b"") -> None:
    connection.sendall(start)
    for _ in range(600):
        connection.sendall(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips_is_left_when_the_time_is_over(serve, start: bytes) -> None:
    server = serve(lambda connection, head: drip(connection, head, start))
    began = time.monotonic()
    with pytest.raises(CallTimeout, match="in time"):
        get(client(server.origin), server.origin, seconds=1)
    assert time.monotonic() - began < 30  # the server would go on for 60


def test_a_server_that_never_answers_is_left_when_the_call_is_cancelled(serve) -> None:
    cancelled, ended = threading.Event(), threading.Event()
    server = serve(lambda connection, head: cancelled.set() or ended.wait(60))
    try:
        with pytest.raises(CallTimeout):
            client(server.origin).send(HttpRequest("GET", server.origin), lambda: 0 if cancelled.is_set() else 60)
    finally:
        ended.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    ],
)
def test_an_answer_that_is_cut_short_is_no_answer(serve, answer: bytes) -> None:
    server = serve(answer)
    with pytest.raises(BackendUnavailable):
        get(client(server.origin), server.origin)


def test_nobody_there_is_said(serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(BackendUnavailable, match="refused"):
        get(client(f"http://127.0.0.1:{port}"), f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("CONNECT", ()),
        ("TRACE", ()),
        ("GET\r\nX: y", ()),
        ("GET", (("X\r\nY", "z"),)),
        ("GET", (("X", "a\r\nY: z"),)),
        ("GET", (("X", "\u20ac"),)),
        ("GET", (("X", "y" * 20_000),)),
        ("GET", tuple((f"x-{number}", "y" * 10_000) for number in range(9))),
    ],
)
def test_a_request_that_would_smuggle_is_not_sent(serve, method: str, headers: tuple[tuple[str, str], ...]) -> None:
    server = serve(OK)
    with pytest.raises(PluginHttpRefused):
        get(client(server.origin), server.origin, *headers, method=method)
    assert server.heads == []


# ------------------------------------------------------------------------------------------------------- addresses


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`resolver(name=[addresses])`: a mock, since a test has no name server of its own."""

    def answers(**names: list[list[str]]) -> None:
        left = {name.replace("_", "."): iter(several) for name, several in names.items()}
        monkeypatch.setattr(http_address, "_resolved", lambda name: [address_of(text) for text in next(left[name], [])])

    return answers


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_name_of_a_private_address_is_not_connected_to(resolver, address: str) -> None:
    resolver(api_example_com=[[address]])
    with pytest.raises(PluginHttpRefused, match="private network"):
        get(client("api.example.com"), "https://api.example.com/")


def test_a_name_that_moves_after_it_was_checked_gains_nothing(serve, resolver) -> None:
    server = serve(OK)
    resolver(api_example_com=[["127.0.0.1"], ["10.255.255.1"]])  # a second look would find the other
    url = f"http://api.example.com:{server.port}"
    http = client(url, networks=(ipaddress.ip_network("127.0.0.0/8"),))
    assert get(http, url).status == 200
    assert f"Host: api.example.com:{server.port}\r\n".encode() in server.heads[0]


def test_the_private_one_of_two_addresses_is_left_out(serve, resolver) -> None:
    server = serve(OK)  # at 127.0.0.1, which is not granted here; nobody listens at the other
    resolver(api_example_com=[["127.0.0.1", "127.0.0.2"]])
    url = f"http://api.example.com:{server.port}"
    with pytest.raises(BackendUnavailable):
        get(client(url, networks=(ipaddress.ip_network("127.0.0.2/32"),)), url)
    assert server.heads == []


def test_a_name_that_does_not_resolve_is_unavailable(resolver) -> None:
    resolver(api_example_com=[[]])
    with pytest.raises(BackendUnavailable, match=r"api\.example\.com does not resolve"):
        get(client("api.example.com"), "https://api.example.com/")


def test_a_resolver_that_hangs_ends_with_the_call(monkeypatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(http_address, "_resolved", lambda name: ended.wait(60) and [])
    with pytest.raises(CallTimeout, match="did not resolve in time"):
        get(client("api.example.com"), "https://api.example.com/", seconds=0.5)
    ended.set()


# --------------------------------------------------------------------------------------------------- TLS and proxies


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A directory with ca.pem, and good.pem and other.pem for 127.0.0.1 and other.test, each with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    directory: Path = tmp_path_factory.mktemp("tls")
    now = dt.datetime.now(dt.UTC)

    def certificate(subject, issuer, key, signing_key, names=(), *, is_ca=False):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signing_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key = ec.generate_private_key(ec.SECP256R1())
    (directory / "ca.pem").write_bytes(certificate("ca", "ca", ca_key, ca_key, is_ca=True))
    for name, names in (
        ("good", [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("api.example.com")]),
        ("other", [x509.DNSName("other.test")]),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(certificate(name, "ca", key, ca_key, names) + private)
    return directory


def server_context(authority: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / f"{name}.pem")
    return context


def test_the_certificate_of_our_own_authority_is_trusted_when_it_is_named(serve, authority) -> None:
    server = serve(OK, server_context(authority, "good"))
    http = client(f"127.0.0.1:{server.port}", ca_file=str(authority / "ca.pem"))
    assert get(http, f"https://127.0.0.1:{server.port}/").body == b"hi"


@pytest.mark.parametrize(("name", "ca"), [("other", "ca.pem"), ("good", None)], ids=["other-name", "unknown-authority"])
def test_a_wrong_certificate_is_not_talked_to(serve, authority, name: str, ca: str | None) -> None:
    server = serve(OK, server_context(authority, name))
    http = client(f"127.0.0.1:{server.port}", ca_file=str(authority / ca) if ca else None)
    with pytest.raises(BackendUnavailable, match="is not to be trusted"):
        get(http, f"https://127.0.0.1:{server.port}/", ("Authorization", "secret"))
    assert server.heads == []


def test_a_missing_ca_file_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PluginHttpRefused, match=r"authorities of /nowhere/ca\.pem cannot be read"):
            get(client(origin, ca_file="/nowhere/ca.pem"), f"https://{origin}/")


def forward(connection: socket.socket, head: bytes) -> None:
    """A proxy: what CONNECT names is at the port that it names, on this machine."""
    if not head.startswith(b"CONNECT "):
        connection.sendall(OK)
        return
    port = int(head.split(b" ")[1].rpartition(b":")[2])
    with socket.create_connection(("127.0.0.1", port)) as onward:
        connection.sendall(b"HTTP/1.1 200 Connected\r\nX: y\r\n\r\n")

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    sink.sendall(piece)
                sink.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=pump, args=(onward, connection))
        back.start()
        pump(connection, onward)
        back.join()


def test_a_proxy_gets_the_name_and_tls_goes_through_it(serve, authority) -> None:
    server = serve(OK, server_context(authority, "good"))
    proxy = serve(forward)
    environment = {"HTTPS_PROXY": f"http://user:p%40ss@127.0.0.1:{proxy.port}", "NO_PROXY": "other.test"}
    url = f"https://api.example.com:{server.port}"
    http = client(url, ca_file=str(authority / "ca.pem"), environment=environment)
    assert get(http, f"{url}/x", ("X-Vault-Token", "hvs.secret")).body == b"hi"
    assert proxy.heads[0].startswith(f"CONNECT api.example.com:{server.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.heads[0]
    assert b"hvs.secret" not in proxy.heads[0]
    assert b"hvs.secret" in server.heads[0]


def test_plain_http_goes_to_a_proxy_with_the_whole_url(serve) -> None:
    proxy = serve(forward)
    http = client("http://api.example.com", environment={"http_proxy": f"127.0.0.1:{proxy.port}"})
    assert get(http, "http://api.example.com/x?y=z").status == 200
    assert proxy.heads[0].startswith(b"GET http://api.example.com/x?y=z HTTP/1.1\r\n")


def test_a_proxy_does_not_open_what_the_list_or_the_address_forbids(serve) -> None:
    proxy = serve(forward)
    http = client("api.example.com", environment={"https_proxy": f"http://127.0.0.1:{proxy.port}"})
    with pytest.raises(PluginHttpRefused):
        get(http, "https://169.254.169.254/latest")
    assert proxy.heads == []


def test_a_proxy_that_refuses_is_named(serve) -> None:
    proxy = serve(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n")
    http = client("api.example.com", environment={"https_proxy": f"http://127.0.0.1:{proxy.port}"})
    with pytest.raises(BackendUnavailable, match="the proxy answers HTTP 407"):
        get(http, "https://api.example.com/")


@pytest.mark.parametrize("exempt", ["*", "127.0.0.1", "127.0.0.0/8", "x.test, 127.0.0.1:{port}"])
def test_no_proxy_is_kept(serve, exempt: str) -> None:
    server, proxy = serve(OK), serve(forward)
    environment = {"http_proxy": f"http://127.0.0.1:{proxy.port}", "no_proxy": exempt.format(port=server.port)}
    assert get(client(server.origin, environment=environment), server.origin).status == 200
    assert (len(server.heads), len(proxy.heads)) == (1, 0)


# ------------------------------------------------------------------------------------------------------------- log


def test_each_request_is_logged_without_path_headers_or_query(serve) -> None:
    lines = io.StringIO()
    server = serve(OK)
    http = client(server.origin, log=Log(Level.INFO, stream=lines))
    get(http, f"{server.origin}/secret-path?token=secret-query", ("Authorization", "secret-header"))
    with pytest.raises(PluginHttpRefused):
        get(http, "http://other.test/secret-path")
    text = lines.getvalue()
    assert f"host=127.0.0.1:{server.port} status=200 bytes=2" in text
    assert "plugin=demo:conn-1" in text
    assert "secret" not in text
    assert "a plugin's HTTP request is refused" in text
    assert "http://other.test:80 is not allowed" in text
