"""`injector plugin install` against a real HTTPS server that cuts, redirects, lies and stalls."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import http.server
import ipaddress
import json
import os
import pty
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")
DATA = b"#!/bin/sh\n" + os.urandom(3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
FILE = "demo-linux-amd64"
HALF = len(DATA) // 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate authority and a server certificate for 127.0.0.1 by it, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("test CA", "server")]
    made = []
    for index in range(2):
        builder = x509.CertificateBuilder(names[0], names[index], keys[index].public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=index == 0, path_length=None), critical=True)
        if index:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(made[0])
    (folder / "server.pem").write_bytes(made[1] + key)
    return folder / "ca.pem", folder / "server.pem"


class Server:
    """What was asked (`path`, `Range`, `If-Range`), and `answer`, which a test replaces."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.answer: Callable[[Any, int], None] = whole
        self.release = threading.Event()


def whole(handler: Any, number: int) -> None:
    send(handler, DATA)


def send(handler: Any, data: bytes, *, most: int | None = None, etag: str | None = '"v1"') -> None:
    """Answers as a good server does, with ranges; with *most* only so many bytes, and then the line is cut."""
    start = 0
    wanted = handler.headers.get("Range")
    if wanted and handler.headers.get("If-Range") == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        handler.send_response(200)
    if etag:
        handler.send_header("ETag", etag)
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    handler.wfile.write(data[start:][:most])
    handler.wfile.flush()


def redirect(to: str) -> Callable[[Any, int], None]:
    def answer(handler: Any, number: int) -> None:
        if handler.path.endswith("/end/" + FILE):
            send(handler, DATA)
            return
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def refuse(status: int, **headers: str) -> Callable[[Any, int], None]:
    def answer(handler: Any, number: int) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server(certificates: tuple[Path, Path]) -> Iterator[Server]:
    """An HTTPS server on a loopback address; each connection carries one answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
            try:
                state.answer(self, len(state.asked))
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                state.release.set()  # the client has gone: that is what some tests are about
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def get_request(self) -> Any:
            connection, address = super().get_request()
            # The handshake belongs to the connection's own thread.
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *arguments: object) -> None:
            pass  # a client that does not trust us

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates[1])
    httpd = Quiet(("127.0.0.1", 0), Handler)
    state = Server(f"https://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield state
    state.release.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


class Command:
    """`injector plugin install` in an empty directory."""

    def __init__(self, folder: Path, ca: Path) -> None:
        self.work = folder / "w"
        self.work.mkdir(mode=0o755)
        self.cache = folder / "cache" / "injector" / "downloads"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "SSL_CERT_FILE": str(ca),
        }

    def arguments(self, *arguments: str) -> list[str | Path]:
        return [INJECTOR, "plugin", "install", *arguments]

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.arguments(*arguments),
            check=False,
            capture_output=True,
            text=True,
            env=self.environment | (env or {}),
            cwd=self.work,
            timeout=100,
        )

    @property
    def target(self) -> Path:
        return self.work / ".configmanager" / "plugins" / "demo" / FILE

    def partial(self) -> list[bytes]:
        return [path.read_bytes() for path in self.cache.glob("*.part")]

    def nothing_is_left(self) -> bool:
        in_cache = list(self.cache.iterdir()) if self.cache.exists() else []
        return in_cache == [] and list(self.work.iterdir()) == []


@pytest.fixture
def install(tmp_path: Path, certificates: tuple[Path, Path]) -> Command:
    return Command(tmp_path, certificates[0])


# ------------------------------------------------------------------------------------------------------- it works


@pytest.mark.seed("002:16")
def test_a_file_is_downloaded_checked_and_placed_executable(install: Command, server: Server) -> None:
    done = install(
        f"{server.url}/v1/{FILE}?signature=canary#x", "--sha256", f"sha256:{SUM.upper()}", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    assert install.target.read_bytes() == DATA
    assert install.target.stat().st_mode & 0o7777 == 0o755
    assert list(install.cache.iterdir()) == []
    assert json.loads(done.stdout) == {
        "schemaVersion": 1,
        "name": "demo",
        "platform": "linux-amd64",
        "location": str(install.target),
        "sha256": SUM,
        "size": len(DATA),
        "changed": True,
        "lockChanges": [],
    }


def test_the_lock_file_gives_the_checksum_and_gains_what_is_installed(install: Command, server: Server) -> None:
    lock = install.work / "injector.plugins.lock"
    lock.write_text("apiVersion: config-injector.io/v1alpha1\nkind: PluginLock\nplugins: {}\n")
    url = f"{server.url}/v1/{FILE}"
    assert install(url).returncode == 2, "no checksum anywhere"
    assert install(f"{url}?signature=canary", "--sha256", SUM).returncode == 0
    assert f'source: "{url}"' in lock.read_text()
    assert "canary" not in lock.read_text()
    install.target.unlink()
    assert install(url).returncode == 0
    assert install.target.read_bytes() == DATA
    server.answer = lambda handler, number: send(handler, DATA + b"x")
    assert install(url).returncode == 7
    assert install.target.read_bytes() == DATA, "what was there stays"


def test_a_local_file_is_installed_too(install: Command, tmp_path: Path) -> None:
    (tmp_path / "build").write_bytes(DATA)
    source = str(tmp_path / "build")
    done = install(source, "--name", "DEMO", "--platform", "linux-amd64", "--plugin-path", "p/q", "--sha256", SUM)
    assert done.returncode == 0, done.stderr
    assert (install.work / "p" / "q" / "demo" / FILE).read_bytes() == DATA
    again = install(source, "--name", "demo", "--platform", "linux-amd64", "--plugin-path", "p/q", "--sha256", SUM)
    assert "already there" in again.stderr


def test_a_redirect_to_another_https_address_is_followed(install: Command, server: Server) -> None:
    server.answer = redirect(f"{server.url}/end/{FILE}")
    assert install(f"{server.url}/v1/{FILE}", "--sha256", SUM).returncode == 0
    assert [path for path, *_ in server.asked] == [f"/v1/{FILE}", f"/end/{FILE}"]


def test_a_server_in_trouble_is_asked_again(install: Command, server: Server) -> None:
    server.answer = lambda handler, number: (refuse(503, Retry_After="0") if number < 3 else whole)(handler, number)
    assert install(f"{server.url}/{FILE}", "--sha256", SUM).returncode == 0
    assert len(server.asked) == 3


def test_a_terminal_sees_a_bar_for_a_slow_download(install: Command, server: Server) -> None:
    def slow(handler: Any, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:HALF])
        server.release.wait(3)  # the bar is for work of more than a second
        handler.wfile.write(DATA[HALF:])

    server.answer = slow
    primary, secondary = pty.openpty()
    arguments = install.arguments(f"{server.url}/{FILE}", "--sha256", SUM)
    environment = install.environment | {"TERM": "xterm"}
    process = subprocess.Popen(arguments, cwd=install.work, env=environment, stderr=secondary)
    os.close(secondary)
    shown = b""
    while True:
        try:
            data = os.read(primary, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(primary)
    assert process.wait(PATIENCE) == 0, shown
    assert b"downloading (KiB)" in shown
    assert f"{len(DATA) // 1024}/{len(DATA) // 1024}".encode() in shown


# ----------------------------------------------------------------------------------------- resumed downloads


def test_a_cut_download_is_continued_where_it_broke_off(install: Command, server: Server) -> None:
    server.answer = lambda handler, number: send(handler, DATA, most=HALF if number == 1 else None)
    assert install(f"{server.url}/{FILE}", "--sha256", SUM).returncode == 0
    assert server.asked == [(f"/{FILE}", None, None), (f"/{FILE}", f"bytes={HALF}-", '"v1"')]
    assert install.target.read_bytes() == DATA


def test_a_file_that_changed_in_between_starts_anew(install: Command, server: Server) -> None:
    def changing(handler: Any, number: int) -> None:
        if number == 1:
            send(handler, b"#!old" + DATA, most=HALF, etag='"v0"')
        else:
            send(handler, DATA)

    server.answer = changing
    assert install(f"{server.url}/{FILE}", "--sha256", SUM).returncode == 0
    assert server.asked[1][1:] == (f"bytes={HALF}-", '"v0"')
    assert install.target.read_bytes() == DATA


def test_without_a_validator_nothing_is_continued(install: Command, server: Server) -> None:
    server.answer = lambda handler, number: send(handler, DATA, most=HALF if number == 1 else None, etag=None)
    assert install(f"{server.url}/{FILE}", "--sha256", SUM).returncode == 0
    assert [asked[1] for asked in server.asked] == [None, None]


def test_a_partial_file_that_was_tampered_with_is_noticed_and_dropped(install: Command, server: Server) -> None:
    server.answer = lambda handler, number: send(handler, DATA, most=HALF if number == 1 else 0)
    done = install(f"{server.url}/{FILE}", "--sha256", SUM)
    assert done.returncode == 5
    assert f"{HALF} bytes are kept" in done.stderr
    (path,) = install.cache.glob("*.part")
    assert path.stat().st_mode & 0o777 == 0o600
    assert install.cache.stat().st_mode & 0o777 == 0o700
    path.write_bytes(b"evil" * (HALF // 4))
    server.answer = whole
    done = install(f"{server.url}/{FILE}", "--sha256", SUM)
    assert done.returncode == 7
    assert "[plugin-checksum-mismatch]" in done.stderr
    assert install.nothing_is_left()


def test_an_interrupted_download_leaves_the_partial_file_only_and_goes_on_next_time(
    install: Command, server: Server
) -> None:
    def stall(handler: Any, number: int) -> None:
        send(handler, DATA, most=HALF)
        server.release.wait(60)

    server.answer = stall
    arguments = install.arguments(f"{server.url}/{FILE}", "--sha256", SUM)
    process = subprocess.Popen(arguments, cwd=install.work, env=install.environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while sum(map(len, install.partial())) < HALF and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    server.release.set()
    assert (process.returncode, errors) == (130, b"interrupted\n")
    assert install.partial() == [DATA[:HALF]]
    assert list(install.work.iterdir()) == []
    server.answer = whole
    assert install(f"{server.url}/{FILE}", "--sha256", SUM).returncode == 0
    assert server.asked[1][1] == f"bytes={HALF}-"
    assert install.target.read_bytes() == DATA


# ------------------------------------------------------------------------------------------------------- refusals


def test_another_checksum_leaves_nothing(install: Command, server: Server) -> None:
    done = install(f"{server.url}/{FILE}", "--sha256", "0" * 64)
    assert done.returncode == 7
    assert SUM in done.stderr
    assert install.nothing_is_left()


def test_a_server_that_does_not_answer_is_told_and_leaves_nothing(install: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = install(f"https://127.0.0.1:{port}/{FILE}", "--sha256", SUM)
    assert done.returncode == 5
    assert "Connection refused" in done.stderr
    assert install.nothing_is_left()


def test_two_installs_of_one_file_do_not_mix(install: Command, server: Server) -> None:
    install.cache.mkdir(parents=True, mode=0o700)
    url = f"{server.url}/{FILE}"
    partial = install.cache / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
    with partial.open("wb") as other:
        other.write(b"x")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        done = install(url, "--sha256", SUM)
    assert done.returncode == 7
    assert "another process is downloading" in done.stderr
    assert partial.read_bytes() == b"x"


def test_a_cache_that_others_may_write_is_not_used(install: Command, server: Server) -> None:
    install.cache.mkdir(parents=True)
    install.cache.chmod(0o777)
    done = install(f"{server.url}/{FILE}", "--sha256", SUM)
    assert done.returncode == 7
    assert "only this user can write" in done.stderr
    assert server.asked == []


def test_a_file_that_is_not_there_is_not_asked_for_again(install: Command, server: Server) -> None:
    server.answer = refuse(404)
    done = install(f"{server.url}/{FILE}?signature=canary", "--sha256", SUM)
    assert (done.returncode, len(server.asked)) == (7, 1)
    assert "HTTP 404" in done.stderr
    assert "canary" not in done.stderr
    assert install.nothing_is_left()


@pytest.mark.parametrize("to", ["http://example.com/x", "http://127.0.0.1:1/x", "file:///etc/passwd", "ftp://h/x"])
def test_a_redirect_to_anything_but_https_is_refused(install: Command, server: Server, to: str) -> None:
    server.answer = redirect(to)
    done = install(f"{server.url}/{FILE}", "--sha256", SUM)
    assert done.returncode == 7
    assert "root:" not in done.stderr
    assert install.nothing_is_left()


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_larger_than_allowed_is_refused(install: Command, server: Server, announced: bool) -> None:
    def endless(handler: Any, number: int) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        while not server.release.is_set():
            handler.wfile.write(b"x" * 65536)

    server.answer = endless
    done = install(f"{server.url}/{FILE}", "--sha256", SUM, "--max-size", "1Mi")
    assert done.returncode == 7
    assert "larger than 1048576 bytes" in done.stderr
    assert install.nothing_is_left()


def test_a_server_that_nobody_vouches_for_is_refused(install: Command, server: Server) -> None:
    done = install(f"{server.url}/{FILE}", "--sha256", SUM, env={"SSL_CERT_FILE": "/dev/null"})
    assert done.returncode == 7
    assert "certificate of 127.0.0.1 is not to be trusted" in done.stderr
    assert install.nothing_is_left()
    assert server.asked == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("http://example.com/demo-linux-amd64", "plugins are downloaded by HTTPS"),
        ("ftp://example.com/demo-linux-amd64", "plugins are downloaded by HTTPS"),
        ("https://user:canary@example.com/demo-linux-amd64", "a user name or a password"),
        ("https:///demo-linux-amd64", "is no URL"),
        ("https://[/demo-linux-amd64", "is no URL"),
        ("https://example.com:port/demo-linux-amd64", "is no URL"),
    ],
)
def test_an_unsafe_address_is_wrong_usage(install: Command, source: str, text: str) -> None:
    done = install(source, "--sha256", SUM)
    assert done.returncode == 2
    assert text in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.parametrize(
    ("content", "platform", "text"),
    [
        (b"\x1f\x8b\x08" + DATA, "linux-amd64", "is an archive (gzip), and archives are not unpacked"),
        (b"PK\x03\x04" + DATA, "linux-amd64", "is an archive (zip)"),
        (bytes(257) + b"ustar" + DATA, "linux-amd64", "is an archive (tar)"),
        (b"\0asm\1\0\0\0", "linux-amd64", "is a WASM module"),
        (DATA, "wasm", "is no WASM module"),
        (b"\xcf\xfa\xed\xfe\x0c\0\0\1" + DATA, "linux-amd64", "is a Mach-O program for arm64"),
    ],
)
def test_what_is_no_program_for_that_platform_is_refused(
    install: Command, tmp_path: Path, content: bytes, platform: str, text: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    done = install(str(tmp_path / "file"), "--name", "demo", "--platform", platform, "--sha256", digest)
    assert done.returncode == 7
    assert text in done.stderr
    assert install.nothing_is_left()


@pytest.mark.parametrize("arguments", [["--sha256", "abc"], ["--platform", "Linux"], ["--name", "x-y"], []])
def test_what_is_missing_or_malformed_is_wrong_usage(install: Command, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / FILE).write_bytes(DATA)
    assert install(str(tmp_path / FILE), *arguments).returncode == 2
    assert install.nothing_is_left()


def test_a_folder_that_others_may_write_gets_nothing(install: Command, tmp_path: Path) -> None:
    install.target.parent.mkdir(parents=True)
    install.target.parent.chmod(0o777)
    (tmp_path / FILE).write_bytes(DATA)
    done = install(str(tmp_path / FILE), "--sha256", SUM)
    assert done.returncode == 7
    assert "may be written by others" in done.stderr
    assert list(install.target.parent.iterdir()) == []


@pytest.mark.seed("002:16")
def test_a_render_does_not_even_load_what_could_download(tmp_path: Path) -> None:
    (tmp_path / "template").write_text("a=ENV://DEMO b=MISSINGPLUGIN:///x c=AWSPARAMSTR:///x")
    script = (
        "import sys, json\nfrom injector.cli.main import main\n"
        "code = main(['render', 'template', '--timeout', '10s'])\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.__stdout__)\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DEMO": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code != 0, "the plugin was started, and has no credentials"
    assert not {"injector.app.download", "injector.app.plugin_install", "urllib.request"} & set(modules)
