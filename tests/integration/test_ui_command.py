"""`injector ui` as a process, with real sidecars, stores and plugins, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ui_running import INJECTOR, PATIENCE, Ui, running_sidecar, running_ui, until

from injector.backends.executables import this_platform
from injector.connections.store import ConnectionStore
from injector.web.answers import HEADERS
from injector.web.bodies import LARGEST

CANARY = "canary-4711-secret"

PLUGIN = f"""#!{sys.executable}
import sys, time
from injector.sdk.errors import InvalidConfiguration, NotFound
from injector.sdk.serving import serve
from injector.sdk.store import Description, TokenStore

class Demo(TokenStore):
    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50)

    def configure(self, connection, settings):
        print("logging in with", settings["password"], file=sys.stderr, flush=True)
        if "hang" in settings:
            time.sleep(1000)
        if "refuse" in settings:
            raise InvalidConfiguration("cannot use " + settings["password"], hint="not " + settings["password"])
        self.password = settings["password"]

    def resolve(self, references):
        for reference in references:
            if reference.path == "none":
                yield reference, NotFound("nothing for " + self.password, hint="try " + self.password)
            else:
                yield reference, self.password + reference.path

serve(Demo())
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin path with one plugin, which tells its password wherever it can."""
    place = tmp_path_factory.mktemp("plugins")
    (place / "demo").mkdir()
    program = place / "demo" / f"demo-{this_platform().file_suffix}"
    program.write_text(PLUGIN)
    program.chmod(0o755)
    return place


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, plugins: Path) -> Iterator[Ui]:
    """Signed in, without a sidecar; for tests that leave it as it was."""
    with running_ui(tmp_path_factory.mktemp("shared"), "--plugin-path", str(plugins)) as ui:
        ui.sign_in()
        yield ui
        assert ui.stop() == 0


def has_ended(process: psutil.Process) -> bool:
    """Also one that nobody has waited for: process 1 of a container may never."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def raw(ui: Ui, request: bytes) -> bytes:
    """What comes back for bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", ui.port), PATIENCE) as connection:
        connection.sendall(request)
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


# ------------------------------------------------------------------------------------------------------------ sign-in


def test_the_token_signs_in_once_and_the_cookie_is_for_this_page_only(tmp_path) -> None:
    with running_ui(tmp_path / "home") as ui:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{43}", ui.url)
        assert ui.ask("GET", "/api/session").code == "signed-out"
        wrong = ui.ask("POST", "/api/session", {"token": "wrong"})
        assert (wrong.status, wrong.code) == (401, "token-refused")
        answer = ui.ask("POST", "/api/session", {"token": ui.token})
        name, _, attributes = answer.headers["set-cookie"].partition("=")
        assert name == f"injector_ui_{ui.port}"
        value, *rest = (part.strip().lower() for part in attributes.split(";"))
        assert len(value) == 43
        assert set(rest) == {"httponly", "path=/", "samesite=strict"}, "of the session, of this host, for no script"
        used = ui.ask("POST", "/api/session", {"token": ui.token})
        assert (used.status, used.code) == (401, "token-refused")
        ui.csrf, ui.cookie = answer.json["csrf"], answer.headers["set-cookie"].partition(";")[0]
        session = ui.ask("GET", "/api/session").json
        assert session["csrf"] == ui.csrf
        assert session["control"] is None
        assert session["store"] == f"{ui.home}/.local/share/injector/connections.db"
        assert ui.ask("DELETE", "/api/session").status == 204
        assert ui.ask("GET", "/api/session").status == 401
        assert ui.stop() == 0
        log = ui.log.read_text()
        assert "signed in" in log
        assert ui.token not in log
        assert value not in log.lower()
        assert ui.rest == b""


def test_a_cookie_of_another_page_on_this_machine_is_none(shared: Ui, tmp_path) -> None:
    name, _, value = shared.cookie.partition("=")
    assert shared.ask("GET", "/api/session", Cookie=f"{name}={value}").status == 200
    assert shared.ask("GET", "/api/session", Cookie=f"injector_ui_{shared.port + 1}={value}").status == 401
    assert shared.ask("GET", "/api/session", Cookie=f"injector_ui={value}").status == 401
    with running_ui(tmp_path / "home") as other:
        other.sign_in()
        both = f"{shared.cookie}; {other.cookie}"  # as a browser sends them, which knows no ports
        assert shared.ask("GET", "/api/session", Cookie=both).json["csrf"] == shared.csrf
        assert other.ask("GET", "/api/session", Cookie=both).json["csrf"] == other.csrf
        stolen = shared.cookie.replace(str(shared.port), str(other.port))
        assert other.ask("GET", "/api/session", Cookie=stolen).status == 401


def test_the_cookie_alone_which_every_port_of_this_machine_is_sent_tells_nothing(shared: Ui) -> None:
    for path in ("session", "sidecar", "history", "connections", "prefixes"):
        assert shared.ask("GET", f"/api/{path}").status == 200
        for proof in (None, "x" * 43, "\xe9"):
            alone = shared.ask("GET", f"/api/{path}", X_CSRF_Token=proof)
            assert (alone.status, alone.code) == (401, "signed-out")
        assert shared.ask("GET", f"/api/{path}", Cookie=None).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", f"/api/{path}") for path in ("sidecar", "history", "connections", "connections/x", "prefixes")],
        *[("POST", f"/api/{path}") for path in ("sidecar/refresh", "connections", "connections/x/test")],
        *[("DELETE", f"/api/{path}") for path in ("session", "connections/x")],
        ("HEAD", "/api/sidecar"),
    ],
)
def test_nothing_is_told_and_done_without_a_session(shared: Ui, method: str, path: str) -> None:
    answer = shared.signed_out().ask(method, path, {} if method == "POST" else None)
    assert answer.status == 401
    assert method == "HEAD" or answer.code == "signed-out"


# ------------------------------------------------------------------------------------------------------------- guards

FOREIGN = {
    "another host": ({"Host": "evil.example"}, 421),
    "another port": ({"Host": "127.0.0.1:1"}, 421),
    "another site": ({"Sec_Fetch_Site": "cross-site"}, 403),
    "another port of this machine": ({"Sec_Fetch_Site": "same-site"}, 403),
    "another origin": ({"Origin": "http://127.0.0.1:1"}, 403),
    "no origin": ({"Origin": None}, 403),
    "no CSRF token": ({"X_CSRF_Token": None}, 403),
    "the CSRF token of nobody": ({"X_CSRF_Token": "x" * 43}, 403),
    "an odd CSRF token": ({"X_CSRF_Token": "\xe9"}, 403),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_other_pages_change_nothing(shared: Ui, foreign: str) -> None:
    headers, status = FOREIGN[foreign]
    body = {"name": "foreign", "prefix": "DEMO", "settings": {}, "secrets": {}}
    assert shared.ask("POST", "/api/connections", body, **headers).status == status
    assert shared.ask("DELETE", "/api/session", **headers).status == status
    assert shared.ask("GET", "/api/connections").json["connections"] == []


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}]
)
def test_other_pages_read_nothing_and_sign_nobody_in(shared: Ui, headers: dict[str, str]) -> None:
    assert shared.ask("GET", "/api/session", **headers).status in (403, 421)
    assert shared.ask("POST", "/api/session", {"token": "x"}, **headers).status in (403, 421)


def test_reading_changes_nothing_and_no_method_stands_for_another(shared: Ui) -> None:
    for path in ("/api/sidecar/refresh", "/api/connections/x/test"):
        assert shared.ask("GET", path).status == 405
        assert shared.ask("GET", path, X_HTTP_Method_Override="POST").status == 405
    override = shared.ask("POST", "/api/connections/x", {"_method": "DELETE"}, X_HTTP_Method_Override="DELETE")
    assert (override.status, override.code) == (405, "method-unknown")
    assert set(override.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    assert shared.ask("PUT", "/api/session", {}).status == 405


def test_no_other_page_is_invited(shared: Ui) -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-csrf-token"}
    for origin in (shared.origin, "http://evil.example"):
        answer = shared.ask("OPTIONS", "/api/connections", Origin=origin, **asked)
        assert answer.status == (405 if origin == shared.origin else 403)
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_every_answer_has_the_headers_that_keep_a_browser_in_check(shared: Ui) -> None:
    answers = {
        "the page": shared.ask("GET", "/"),
        "its head": shared.ask("HEAD", "/"),
        "json": shared.ask("GET", "/api/session"),
        "nothing": shared.ask("GET", "/nope"),
        "no method": shared.ask("PUT", "/"),
        "no session": shared.signed_out().ask("GET", "/api/session"),
        "no host": shared.ask("GET", "/", Host="evil.example"),
        "no site": shared.ask("GET", "/", Sec_Fetch_Site="cross-site"),
        "no JSON": shared.ask("POST", "/api/session", b"{"),
        "unknown": shared.ask("GET", "/api/connections/none"),
    }
    for what, answer in answers.items():
        missing = {name: value for name, value in HEADERS.items() if answer.headers.get(name.lower()) != value}
        assert not missing, what
        assert answer.headers["content-type"].startswith(("application/json", "text/html")), what
        assert "server" not in answer.headers
    nonsense = raw(shared, b"NONSENSE\r\n\r\n").lower()
    assert nonsense.startswith(b"http/1.1 400")
    for name, value in HEADERS.items():
        assert f"\r\n{name}: {value}\r\n".lower().encode() in nonsense
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path",
    [
        *("/..%2f", "/..%2f..%2fetc%2fpasswd", "/../../etc/passwd", "/%2e%2e/api.py", "/page/", "/index.html", "/."),
        *("//", "/injector.js/", "/../page/injector.js", "/%00", "/api", "/api/", "/api/session/", "/..\\serving.py"),
        *("/api/connections/..%2f..%2fsession", "/api/connections/", "/__init__.py"),
    ],
)
def test_only_the_files_of_the_page_are_there(shared: Ui, path: str) -> None:
    answer = shared.ask("GET", path)
    assert (answer.status, answer.code) == (404, "path-unknown")


def test_the_page_is_complete_and_asks_nobody_else(shared: Ui) -> None:
    page = shared.signed_out().ask("GET", "/").body.decode()
    assert "<title>" in page
    for path in re.findall(r'(?:src|href)="(/[^"#]+)"', page):
        assert shared.signed_out().ask("GET", path).status == 200, path
    assert not re.findall(r'(?:src|href)="(?!/|#)', page)


# ------------------------------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_forms_and_texts_of_other_pages_are_no_json(shared: Ui, content_type: str | None) -> None:
    body = {"name": "x", "prefix": "DEMO"}
    assert shared.ask("POST", "/api/connections", body, Content_Type=content_type).status == 415
    assert shared.ask("POST", "/api/connections/x/test", {}, Content_Type=content_type).status == 415
    assert shared.ask("POST", "/api/sidecar/refresh", b"x", Content_Type=content_type).status == 415
    assert shared.signed_out().ask("POST", "/api/session", {"token": "x"}, Content_Type=content_type).status == 415


def test_what_is_no_proper_body_is_told_without_a_quote(shared: Ui) -> None:
    cases: list[tuple[bytes, int]] = [
        (b"", 400),
        (b'{"name": "canary', 400),
        (b'{"name": "\xff"}', 400),
        (b'{"name": "canary", "prefix": "DEMO", "canary": 1}', 422),
        (b'{"name": "canary"}', 422),
        (b'{"name": "canary", "prefix": "DEMO", "secrets": {"canary": 5}}', 422),
        (b"[" * 60_000, 422),
        (b'{"settings": {"a": ' + b"[" * 60_000, 400),
        (b'{"name": "a", "prefix": "DEMO", "settings": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}", 422),
        (b'{"name": "Not A Name", "prefix": "DEMO"}', 422),
        (b'{"name": "a", "prefix": "DEMO", "settings": {"x": 1}, "secrets": {"x": "canary"}}', 422),
        (b'{"name": "a", "prefix": "DEMO", "secrets": {"x": "\\ud800canary"}}', 400),
    ]
    for body, status in cases:
        answer = shared.ask("POST", "/api/connections", body)
        assert answer.status == status, (body[:80], answer)
        assert "canary" not in answer.body.decode()
    assert "canary" not in shared.log.read_text()
    zipped = shared.ask("POST", "/api/connections", {"name": "a", "prefix": "DEMO"}, Content_Encoding="gzip")
    assert zipped.status == 415
    assert shared.ask("GET", "/api/connections").json["connections"] == []


def test_a_body_that_is_too_large_is_refused_and_the_server_goes_on(shared: Ui) -> None:
    just = json.dumps({"token": ""}).encode()
    assert shared.ask("POST", "/api/session", just + b" " * (LARGEST - len(just))).status == 401
    assert shared.ask("POST", "/api/session", just + b" " * (LARGEST - len(just) + 1)).code == "body-too-large"
    assert shared.ask("POST", "/api/session", b" " * 900_000).status == 413
    head = f"POST /api/session HTTP/1.1\r\nHost: {shared.host}\r\nOrigin: {shared.origin}\r\n".encode()
    head += b"Content-Type: application/json\r\n"
    assert raw(shared, head + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 6 + b"0\r\n\r\n"
    assert raw(shared, head + chunks).startswith(b"HTTP/1.1 413")
    assert shared.ask("GET", "/api/session").status == 200


def test_who_sends_slowly_is_sent_away(shared: Ui) -> None:
    with (
        socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as head,
        socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as body,
    ):
        head.sendall(b"GET / HTTP/1.1\r\nHost")
        start = f"POST /api/session HTTP/1.1\r\nHost: {shared.host}\r\nOrigin: {shared.origin}\r\n"
        body.sendall(start.encode() + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
        with contextlib.suppress(ConnectionResetError):
            assert head.recv(100) == b""
        assert body.recv(4096).startswith(b"HTTP/1.1 408")
    assert shared.ask("GET", "/api/session").status == 200


# -------------------------------------------------------------------------------------------------------- connections


@pytest.mark.seed("000:87", "000:89")
def test_a_connection_is_added_shown_tested_and_removed(tmp_path, plugins) -> None:
    with running_ui(tmp_path / "home", "--plugin-path", str(plugins)) as ui:
        ui.sign_in()
        seen: list[bytes] = []

        def ask(method: str, path: str, body: object = None) -> tuple[int, object]:
            answer = ui.ask(method, path, body)
            seen.append(answer.body)
            return answer.status, answer.json if answer.body else None

        status, empty = ask("GET", "/api/connections")
        where = str(ui.home / ".local/share/injector/connections.db")
        assert (status, empty) == (200, {"writable": True, "where": where, "reason": None, "connections": []})
        assert {"prefix": "DEMO", "plugin": "demo"} in ask("GET", "/api/prefixes")[1]["prefixes"]
        given = {"name": "prod", "prefix": "demo", "settings": {"zone": "b"}, "secrets": {"password": CANARY}}
        status, added = ask("POST", "/api/connections", given)
        assert status == 201
        assert (added["name"], added["prefix"], added["version"]) == ("prod", "DEMO", 1)
        assert (added["settings"], added["secrets"]) == ({"zone": "b"}, ["password"])
        assert ask("POST", "/api/connections", given)[0] == 409
        assert ask("GET", "/api/connections/prod") == (200, added)
        listed = {key: value for key, value in added.items() if key != "schemaVersion"}
        assert ask("GET", "/api/connections")[1]["connections"] == [listed]
        store = ConnectionStore(Path(where), ui.home / ".config/injector/master.key")
        assert store.load("prod").configuration() == {"zone": "b", "password": CANARY}

        status, tested = ask("POST", "/api/connections/prod/test", {})
        assert status == 200, tested
        assert "demo" in tested["backend"]
        assert tested["valueBytes"] is None
        status, tested = ask("POST", "/api/connections/prod/test", {"token": "12345"})
        assert (status, tested["valueBytes"]) == (200, len(CANARY) + 5)
        status, missing = ask("POST", "/api/connections/prod/test", {"token": "none"})
        assert (status, missing["error"]["code"]) == (422, "value-not-found")
        assert "***" in missing["error"]["message"]
        refused = {"name": "bad", "prefix": "DEMO", "settings": {"refuse": True}, "secrets": {"password": CANARY}}
        assert ask("POST", "/api/connections", refused)[0] == 201
        status, bad = ask("POST", "/api/connections/bad/test", {"token": None})
        assert (status, bad["error"]["code"]) == (422, "configuration-invalid")
        other = {"name": "other", "prefix": "NOBODY", "secrets": {"password": CANARY}}
        assert ask("POST", "/api/connections", other)[0] == 201
        assert ask("POST", "/api/connections/other/test", {})[0] == 502
        assert ask("POST", "/api/connections/none/test", {})[0] == 404

        for name in ("prod", "bad", "other"):
            assert ask("DELETE", f"/api/connections/{name}") == (204, None)
        assert ask("DELETE", "/api/connections/prod")[0] == 404
        assert ask("GET", "/api/connections/prod")[0] == 404
        assert store.summaries() == ()
        assert psutil.Process(ui.process.pid).children() == []
        assert ui.stop() == 0
        assert CANARY not in ui.log.read_text()
        assert CANARY.encode() not in b"".join(seen)
        for file in ui.home.rglob("*"):
            assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_mounted_connections_are_shown_and_stay_as_they_are(tmp_path) -> None:
    mounted = tmp_path / "mounted" / "prod"
    mounted.mkdir(parents=True)
    (mounted / "prefix").write_text("DEMO")
    (mounted / "password").write_text(CANARY)
    with running_ui(tmp_path / "home", "--connections-directory", str(tmp_path / "mounted")) as ui:
        ui.sign_in()
        found = ui.ask("GET", "/api/connections").json
        assert (found["writable"], found["where"]) == (False, str(tmp_path / "mounted"))
        assert "read only" in found["reason"]
        assert [each["name"] for each in found["connections"]] == ["prod"]
        shown = ui.ask("GET", "/api/connections/prod")
        assert shown.json["secrets"] == ["password"]
        added = ui.ask("POST", "/api/connections", {"name": "a", "prefix": "DEMO"})
        removed = ui.ask("DELETE", "/api/connections/prod")
        for answer in (added, removed):
            assert answer.status == 422
            assert "read only" in answer.json["error"]["message"]
        assert (mounted / "password").exists()
        assert CANARY not in shown.body.decode()


def test_without_a_home_there_are_no_connections_and_it_says_so(tmp_path) -> None:
    with running_ui(tmp_path / "home", HOME="") as ui:
        ui.sign_in()
        found = ui.ask("GET", "/api/connections").json
        assert (found["writable"], found["where"], found["connections"]) == (False, None, [])
        assert "no HOME" in found["reason"]
        assert ui.ask("POST", "/api/connections", {"name": "a", "prefix": "DEMO"}).status == 422


def test_the_end_ends_the_plugin_of_a_test_that_hangs(tmp_path, plugins) -> None:
    with running_ui(tmp_path / "home", "--plugin-path", str(plugins)) as ui:
        ui.sign_in()
        hangs = {"name": "p", "prefix": "DEMO", "settings": {"hang": True}, "secrets": {"password": CANARY}}
        assert ui.ask("POST", "/api/connections", hangs).status == 201
        with socket.create_connection(("127.0.0.1", ui.port), PATIENCE) as connection:
            head = f"POST /api/connections/p/test HTTP/1.1\r\nHost: {ui.host}\r\nOrigin: {ui.origin}\r\n"
            head += f"Cookie: {ui.cookie}\r\nX-CSRF-Token: {ui.csrf}\r\nContent-Type: application/json\r\n"
            connection.sendall(head.encode() + b"Content-Length: 2\r\n\r\n{}")
            children = until(lambda: psutil.Process(ui.process.pid).children(recursive=True), "the plugin")
            assert ui.stop() == 0
        until(lambda: all(map(has_ended, children)), "the plugin's end")
        assert CANARY not in ui.log.read_text()


# ------------------------------------------------------------------------------------------------------------ sidecar


@pytest.fixture
def control() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ui-", dir="/tmp") as directory:
        yield Path(directory, "control")


def reachable(ui: Ui, wanted: bool) -> dict[str, object] | None:
    document = ui.ask("GET", "/api/sidecar").json
    return document if document["reachable"] == wanted else None


def test_a_page_without_a_sidecar(shared: Ui) -> None:
    found = shared.ask("GET", "/api/sidecar").json
    assert found == {"configured": False, "reachable": False, "error": None, "at": None, "status": None}
    assert shared.ask("GET", "/api/history").json == {"interval": 5.0, "samples": []}
    refresh = shared.ask("POST", "/api/sidecar/refresh")
    assert (refresh.status, refresh.code) == (502, "sidecar-no-answer")


def test_a_sidecar_is_shown_refreshed_lost_and_found_again_with_its_past(tmp_path, control) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.conf").write_text(f"a=FILE://{tmp_path}/value")
    (tmp_path / "value").write_text(CANARY)
    with running_ui(tmp_path / "home", "--control", str(control), "--interval", "500ms") as ui:
        ui.sign_in()
        early = ui.ask("GET", "/api/sidecar").json
        assert (early["configured"], early["reachable"], early["error"]["code"]) == (True, False, "sidecar-no-answer")
        assert ui.ask("POST", "/api/sidecar/refresh").status == 502
        seen = b""
        with running_sidecar(tmp_path, control):
            until(lambda: (reachable(ui, True) or {"status": {"ready": False}})["status"]["ready"], "a ready sidecar")
            found = ui.ask("GET", "/api/sidecar")
            (file,) = found.json["status"]["files"]
            assert (file["template"], file["state"]) == ("templates/a.conf", "ready")
            past = lambda: ui.ask("GET", "/api/history").json["samples"]  # noqa: E731
            until(lambda: any(each["ready"] for each in past()), "a look before the refresh")
            (tmp_path / "value").write_text(f"{CANARY}-2")
            refreshed = ui.ask("POST", "/api/sidecar/refresh")
            assert (refreshed.status, refreshed.json["files"], refreshed.json["failed"]) == (200, 1, 0)
            assert (tmp_path / "out" / "a.conf").read_text() == f"a={CANARY}-2"
            until(lambda: any(each["rendered"] == 1 for each in past()), "the refresh in the past")
            seen += found.body + refreshed.body + ui.ask("GET", "/api/history").body
        gone = until(lambda: reachable(ui, False), "the loss")
        assert gone["status"] is None
        assert gone["error"]["code"] == "sidecar-no-answer"
        until(lambda: not past()[-1]["reachable"], "a sample of the loss")
        with running_sidecar(tmp_path, control):  # with another token
            until(lambda: reachable(ui, True), "the sidecar that came back")
            until(lambda: past()[-1]["reachable"], "a sample of it")
        kinds = [each["reachable"] for each in past()]
        assert kinds[0] is False
        assert {True, False} <= set(kinds[kinds.index(True) :])
        assert all(list(each["files"]) == ["ready", "stale", "failed", "pending", "removed"] for each in past())
        ui.stop()
        assert CANARY.encode() not in seen + ui.log.read_bytes()


def test_a_sidecar_that_hangs_is_told_of_and_nothing_else_hangs(tmp_path, control) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(control))
        silent.listen()
        control.with_name("control.token").write_text("x\n")
        with running_ui(tmp_path / "home", "--control", str(control)) as ui:
            ui.sign_in()
            found = ui.ask("GET", "/api/sidecar").json
            assert (found["reachable"], found["error"]["code"]) == (False, "sidecar-no-answer")
            assert "no answer" in found["error"]["message"]
            assert ui.ask("GET", "/api/connections").status == 200
            assert ui.stop() == 0


def test_a_control_socket_of_something_else_is_told_of(tmp_path, control) -> None:
    """A server that answers nonsense: no sidecar does."""
    answers = [b"HTTP/1.1 200 OK\r\n\r\n[1]", b"nonsense", b'HTTP/1.1 200 OK\r\n\r\n{"ready": true}', b""]
    flags = ["--control", str(control), "--interval", "500ms"]
    with socket.socket(socket.AF_UNIX) as server, running_ui(tmp_path / "home", *flags) as ui:
        server.bind(str(control))
        server.listen()
        server.settimeout(PATIENCE)
        control.with_name("control.token").write_text("x\n")
        ui.sign_in()
        for answer in answers:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(4096)
                accepted.sendall(answer)
        until(lambda: len(ui.ask("GET", "/api/history").json["samples"]) >= len(answers), "samples")
        assert not any(each["reachable"] for each in ui.ask("GET", "/api/history").json["samples"])
        assert "error" not in {json.loads(line)["level"] for line in ui.log.read_text().splitlines()}


def test_two_at_once_have_sessions_of_their_own_and_one_store(tmp_path) -> None:
    home = tmp_path / "home"
    with running_ui(home) as one, running_ui(home) as two:
        assert one.port != two.port
        assert two.ask("POST", "/api/session", {"token": one.token}).status == 401
        one.sign_in()
        two.sign_in()
        assert one.ask("POST", "/api/connections", {"name": "a", "prefix": "DEMO"}).status == 201
        assert two.ask("POST", "/api/connections", {"name": "a", "prefix": "DEMO"}).status == 409
        assert two.ask("DELETE", "/api/connections/a").status == 204
        assert one.ask("GET", "/api/connections").json["connections"] == []
        assert one.stop() == 0
        assert two.ask("GET", "/api/session").status == 200


# ------------------------------------------------------------------------------------------------ process and terminal


@pytest.mark.parametrize(
    "address", [":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:80", "127.0.0.2:0", "127.0.0.1", "x"]
)
def test_only_this_machine_is_listened_to(tmp_path, address: str) -> None:
    command = [INJECTOR, "ui", "--listen", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--listen" in done.stderr
    assert done.stdout == ""


def test_an_address_that_is_taken_is_told(tmp_path, shared: Ui) -> None:
    command = [INJECTOR, "ui", "--listen", f"127.0.0.1:{shared.port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=PATIENCE)
    assert done.returncode == 2
    assert "address already in use" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_in_good_order(tmp_path, number: signal.Signals) -> None:
    with running_ui(tmp_path / "home", "--listen", "localhost:0") as ui:
        assert ui.ask("GET", "/").status == 200
        assert ui.stop(number) == 0
        assert "ended" in ui.log.read_text()


class Terminal:
    """`injector ui` at a terminal; `seen` is what it showed."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        self.ours, theirs = pty.openpty()
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), **environment}
        self.process = subprocess.Popen(
            [INJECTOR, "ui", *flags],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=variables,
            cwd=home,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def shows(self, pattern: str) -> list[str]:
        def look() -> list[str]:
            with contextlib.suppress(OSError):
                if select.select([self.ours], [], [], 0.1)[0]:
                    self.seen += os.read(self.ours, 4096).decode()
            return re.findall(pattern, self.seen)

        return until(look, pattern)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `injector ui` at a terminal; it is killed at the end if it is still there."""
    started: list[Terminal] = []

    def start(*flags: str, **environment: str) -> Terminal:
        started.append(Terminal(tmp_path, *flags, **environment))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(PATIENCE)
        os.close(each.ours)


ADDRESS = r"http://127\.0\.0\.1:(\d+)/#token=([\w-]{43})\r"


def test_enter_prints_an_address_that_works_once_more(terminal) -> None:
    shell = terminal("--no-browser")
    [(port, first)] = shell.shows(ADDRESS)
    shell.shows("Enter: another address")
    os.write(shell.ours, b"\n")
    until(lambda: len(shell.shows(ADDRESS)) == 2, "the second address")
    second = shell.shows(ADDRESS)[1][1]
    client = object.__new__(Ui)
    client.port, client.origin, client.cookie, client.csrf = int(port), f"http://127.0.0.1:{port}", "", ""
    assert client.ask("POST", "/api/session", {"token": first}).status == 401
    assert client.ask("POST", "/api/session", {"token": second}).status == 200
    assert shell.end() == 0


def test_the_browser_is_opened_with_a_file_that_only_we_can_read(tmp_path, terminal) -> None:
    """The browser is a program that notes what it is started with."""
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, os\nopen({str(tmp_path / 'new')!r}, 'w').write(sys.argv[1])\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'opened')!r})\n"
    )
    browser.chmod(0o755)
    shell = terminal(BROWSER=f"{browser} %s")
    [(port, token)] = shell.shows(ADDRESS)
    until((tmp_path / "opened").exists, "the browser")
    argument = (tmp_path / "opened").read_text()
    assert argument.startswith("file:///")
    assert token not in argument
    file = Path(argument.removeprefix("file://"))
    assert f"url=http://127.0.0.1:{port}/#token={token}" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert shell.end() == 0
    assert not file.parent.exists()


def test_a_browser_that_is_not_there_is_told(terminal) -> None:
    shell = terminal(BROWSER="/nowhere/browser %s", PATH="/nowhere")
    shell.shows("no browser could be opened")
    assert shell.end() == 0


def test_no_browser_is_opened_without_a_terminal_and_when_nobody_wants_one(tmp_path, terminal) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\ntouch $1\n")
    browser.chmod(0o755)
    marks = {name: tmp_path / name for name in ("piped", "unwanted", "wanted")}
    choices = {name: f"{browser} {mark} %s" for name, mark in marks.items()}
    with running_ui(tmp_path / "home", BROWSER=choices["piped"]):
        terminal("--no-browser", BROWSER=choices["unwanted"]).shows("Enter: another address")
        terminal(BROWSER=choices["wanted"])
        until(marks["wanted"].exists, "the one that is opened, later than the others would be")
    assert [name for name, mark in marks.items() if mark.exists()] == ["wanted"]
