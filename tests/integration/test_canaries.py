"""
A value with a mark in it goes every way there is, well and badly; afterwards the mark is nowhere but in the result.

The value is known to the run by a FILE:// token before any plugin is up, so whatever a plugin says of it is said of a
known value. What a plugin says of a value that the run never got cannot be known for one.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

INJECTOR = Path(sys.executable).with_name("injector")
VALUE = 'cAnary"one\\two\u00e9 three/+four\nsecond=cAnary line 4711 of it'

PLUGIN = """
import base64, json, os, sys, time, urllib.parse
from injector.sdk import *

VALUE = @VALUE@

def forms():
    yield VALUE
    yield json.dumps({"password": VALUE})
    yield json.dumps(json.dumps(VALUE))
    yield repr(VALUE)
    yield urllib.parse.quote(VALUE)
    yield base64.b64encode(VALUE.encode()).decode()
    yield base64.urlsafe_b64encode(b"user:" + VALUE.encode() + b"!").decode()

class Leaky(LookupStore):
    def look_up(self, reference):
        what, _, argument = reference.path.partition(":")
        said = " ".join(forms())
        if what == "good": return VALUE
        if what == "json": return json.dumps({"password": VALUE})
        if what == "malformed": return '{"password": "' + VALUE
        if what == "binary": return b"\\xff" + VALUE.encode()
        if what == "denied": raise AccessDenied("denied: " + said, hint="try " + said)
        if what == "notfound": raise NotFound("no " + said)
        if what == "invalid": raise InvalidReference("invalid " + said)
        if what == "throttled": raise Throttled("slow down " + said, retry_after=0.1)
        if what == "unavailable": raise Unavailable("away " + said)
        if what == "raw": raise ValueError(said)
        if what == "keyerror": return {}[VALUE]
        if what == "exit":
            sys.stderr.write("panic: " + said + "\\n")
            sys.stderr.flush()
            os._exit(3)
        if what == "hold":
            while not os.path.exists(argument): time.sleep(0.02)
        if what in ("log", "hold"):
            for form in forms():
                entry = {"@level": "info", "@message": "got " + form, "@module": "x", "value": form, form: 1}
                print(json.dumps(entry), file=sys.stderr, flush=True)
                print("plain: " + form, file=sys.stderr, flush=True)
                print("stdout: " + form, flush=True)
        return "harmless"

serve(Leaky(), name="leaky", version="1.0.0")
""".replace("@VALUE@", repr(VALUE))

CASES = {
    "good": 0,
    "json|password": 0,
    "json|no.such.key": 4,
    "malformed|password": 4,
    "binary|password": 4,
    "denied": 6,
    "notfound": 4,
    "invalid": 3,
    "throttled": 5,
    "unavailable": 5,
    "raw": None,
    "keyerror": None,
    "exit": 7,
    "log": 0,
}
"""What the token asks for, and the exit code; None where it is not the point."""


def traces(text: str | bytes) -> list[str]:
    """Pieces of the value that are in *text*, in any of the spellings."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    wanted = {"cAnary", "4711 of", "4711%20of", "4711+of", "hree/+fou"}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(bytes(before) + VALUE.encode()).decode()
            wanted |= {coded[start : start + 12] for start in range(4, len(coded) - 16, 12)}
    return [piece for piece in wanted if piece in text]


def test_the_search_finds_the_value_in_every_spelling() -> None:
    for text in (VALUE, json.dumps(VALUE), repr(VALUE), urllib.parse.quote(VALUE)):
        assert traces(f"x{text}y")
    for before in (b"", b"u", b"us"):
        assert traces(base64.b64encode(before + VALUE.encode()))
    assert not traces("nothing of it")


@pytest.fixture
def workspace(tmp_path: Path, install: Callable[..., Any]) -> Iterator[Path]:
    """A directory with the plugin `leaky` and the value in a file; afterwards no core file is in it."""
    install("leaky", f"#!{sys.executable}\n{PLUGIN}")
    (tmp_path / "value").write_text(VALUE)
    yield tmp_path
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("core")]


def template(workspace: Path, token: str) -> str:
    name = "app.conf"
    (workspace / name).write_text(f"known: {{{{ FILE://{workspace}/value }}}}\nasked: {{{{ LEAKY://{token} }}}}\n")
    return name


def environment(workspace: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(workspace),
        "TMPDIR": "/tmp",
        "INJECTOR_PLUGIN_PATH": str(workspace / "plugins"),
        "INJECTOR_LOG_LEVEL": "trace",
        "INJECTOR_TIMEOUT": "20s",
        "GRPC_VERBOSITY": "debug",
        "GRPC_TRACE": "all",
    }


@pytest.mark.fault(66, "no value in standard error, logs or errors, at level trace, whatever goes wrong")
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("token", CASES)
def test_nothing_that_is_printed_holds_a_value(token: str, log_format: str, workspace: Path) -> None:
    name = template(workspace, token)
    done = subprocess.run(
        [INJECTOR, "render", name, "-o", "out", "--format", log_format, "-vv"],
        cwd=workspace,
        env=environment(workspace) | {"INJECTOR_LOG_FORMAT": log_format},
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert not traces(done.stderr), done.stderr.decode()
    assert not traces(done.stdout)
    assert b"Traceback" not in done.stderr
    wanted = CASES[token]
    assert done.returncode == wanted or wanted is None, done.stderr.decode()
    assert done.returncode != 70
    if done.returncode == 0:
        assert VALUE in (workspace / "out").read_text()
    if token == "log":
        assert b"plain: ***" in done.stderr


@pytest.mark.go
@pytest.mark.fault(66, "what a plugin's gRPC error says is not shown, with gRPC's own traces switched on as well")
@pytest.mark.parametrize("token", ["code:7", "code:2", "code:14", "trailer:5:injector-code=x"])
def test_the_details_of_a_grpc_error_stay_inside(
    token: str, tmp_path: Path, install: Callable[..., Any], faultplugin: Path
) -> None:
    install("fault", faultplugin)
    (tmp_path / "app.conf").write_text(f"asked: {{{{ FAULT://{token} }}}}\n")
    done = subprocess.run(
        [INJECTOR, "render", "app.conf"],
        cwd=tmp_path,
        env=environment(tmp_path) | {"INJECTOR_AUTO_MTLS": "off", "INJECTOR_LOG_LEVEL": "info"},
        capture_output=True,
        timeout=110,
        check=False,
    )
    # At level debug a plugin's own words are logged, cleaned of known values; this one is not known.
    assert done.returncode in (4, 5, 6, 7), done.stderr
    assert b"hunter2" not in done.stderr
    assert b"grpc-message" not in done.stderr


@pytest.mark.fault(67, "no value in the arguments or the environment of injector and its plugins")
def test_no_process_has_a_value_in_its_arguments_or_environment(workspace: Path) -> None:
    name = template(workspace, f"hold:{workspace}/go-on")
    process = subprocess.Popen(
        [INJECTOR, "render", name, "-o", "out"],
        cwd=workspace,
        env=environment(workspace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        me = psutil.Process(process.pid)
        while not any("leaky" in " ".join(child.cmdline()) for child in me.children(recursive=True)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        seen = 0
        for _ in range(20):
            for one in [me, *me.children(recursive=True)]:
                for kind in ("cmdline", "environ"):
                    try:
                        assert not traces(Path(f"/proc/{one.pid}/{kind}").read_bytes())
                        seen += 1
                    except (PermissionError, FileNotFoundError, ProcessLookupError):
                        continue  # not dumpable: not readable for this user at all; or gone
            time.sleep(0.05)
        assert seen
    finally:
        (workspace / "go-on").touch()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not traces(errors)


@pytest.mark.fault(68, "a plugin's crash leaves no core file either")
def test_a_plugin_inherits_that_there_are_no_core_files(workspace: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    name = template(workspace, f"hold:{workspace}/go-on")
    process = subprocess.Popen(
        [INJECTOR, "render", name, "-o", "out"],
        cwd=workspace,
        env=environment(workspace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),  # noqa: PLW1509  # one thread
    )
    try:
        deadline = time.monotonic() + 60
        me = psutil.Process(process.pid)
        while not (children := me.children(recursive=True)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        for one in (process.pid, children[0].pid):
            limits = Path(f"/proc/{one}/limits").read_text()
            assert re.search(r"Max core file size +0 ", limits), limits
    finally:
        (workspace / "go-on").touch()
        process.communicate(timeout=60)


@pytest.mark.fault(66, "no value in the object graph of an error: attributes, causes and contexts")
@pytest.mark.parametrize("token", [token for token, code in CASES.items() if code != 0])
def test_no_error_carries_a_value_in_its_objects(token: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from injector.app.build import render_once
    from injector.app.rendering import RenderRequest
    from injector.errors import InjectorError
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Level, Log

    monkeypatch.chdir(workspace)
    name = template(workspace, token)
    settings = Settings(plugin_path=(workspace / "plugins",), timeout=20.0)
    environ = environment(workspace)
    with pytest.raises(InjectorError) as caught:
        asyncio.run(
            render_once(RenderRequest((name,), output=Path("out")), settings, environment=environ, log=Log(Level.OFF))
        )
    found = list(walk(caught.value))
    assert len(found) > 3
    for path, text in found:
        assert not traces(text), path


def walk(thing: object, path: str = "error", seen: set[int] | None = None) -> Iterator[tuple[str, str]]:
    """Every text that can be reached from an object, without the frames of its traceback."""
    seen = set() if seen is None else seen
    if id(thing) in seen or len(seen) > 100_000:
        return
    seen.add(id(thing))
    if isinstance(thing, (str, bytes, bytearray)):
        yield path, thing.decode("utf-8", "replace") if not isinstance(thing, str) else thing
        return
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield from walk(key, f"{path} key", seen)
            yield from walk(value, f"{path}[{key!r:.40}]", seen)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for number, value in enumerate(thing):
            yield from walk(value, f"{path}[{number}]", seen)
    if isinstance(thing, BaseException):
        yield path, str(thing)
        yield path, repr(thing)
        for name in ("args", "__cause__", "__context__", "__notes__"):
            yield from walk(getattr(thing, name, None), f"{path}.{name}", seen)
    if not isinstance(thing, (type, int, float)) and not callable(thing):
        names = [*getattr(thing, "__dict__", {}), *(getattr(type(thing), "__slots__", None) or ())]
        for name in names:
            if not name.startswith("__"):
                yield from walk(getattr(thing, name, None), f"{path}.{name}", seen)


@pytest.mark.fault(66, "a sidecar shows no value: log at trace, status, probes, metrics, control socket, snapshots")
@pytest.mark.fault(69, "a sidecar's endpoints have names, hashes and masked messages only")
async def test_a_sidecar_shows_no_value_anywhere(workspace: Path, socket_base: Path, one_loop: None) -> None:
    from injector.app.build import registry
    from injector.app.reconcile.engine import Sidecar
    from injector.app.reconcile.request import SidecarRequest
    from injector.app.reconcile.sinks import FileSink
    from injector.app.serving import client
    from injector.app.serving.control import ControlServer
    from injector.app.serving.health import StatusServer
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Level, Log
    from injector.telemetry.metrics import PrometheusMeter
    from injector.telemetry.vitals import Vitals

    templates = workspace / "templates"
    templates.mkdir()
    known = f"known: {{{{ FILE://{workspace}/value }}}}\n"
    # Without what takes its time: a crash costs every reference under way another try, with pauses.
    tokens = [token for token in CASES if token not in ("throttled", "unavailable")]
    for number, token in enumerate(tokens):
        (templates / f"{number}.conf").write_text(f"{known}asked: {{{{ LEAKY://{token} }}}}\n")
    settings = Settings(plugin_path=(workspace / "plugins",), timeout=10.0, refresh=None)
    environ = environment(workspace) | {"TMPDIR": str(socket_base)}
    lines, meter, vitals = io.StringIO(), PrometheusMeter(), Vitals()
    log = Log(Level.TRACE, stream=lines)
    backends = registry(settings, environ, log, lasting=True)
    sidecar = Sidecar(
        SidecarRequest((str(templates),), output_dir=workspace / "out"),
        settings,
        backends,
        environment=environ,
        log=log,
        meter=meter,
        vitals=vitals,
        sink=FileSink(),
    )

    async def refresh() -> dict[str, Any]:
        summary = await sidecar.refreshed("refresh")
        return {"files": summary.files, "failed": summary.failed}

    health = StatusServer("127.0.0.1:0", status=sidecar.status, vitals=vitals, meter=meter, clean=log.redactor.clean)
    control = ControlServer(
        socket_base / "control", status=sidecar.status, refresh=refresh, quit=lambda: None, clean=log.redactor.clean
    )
    task = asyncio.create_task(sidecar.run())
    shown: dict[str, str] = {}
    try:
        address, path = health.start(), control.start()
        token = client.read_token(path)
        await asyncio.wait_for(asyncio.wrap_future(sidecar.first_pass), 100)
        # A second pass: all values are known, whatever a plugin said before.
        answer = await asyncio.to_thread(client.ask, path, "/refresh", method="POST", token=token, timeout=100)
        assert json.loads(answer.body)["files"] == len(tokens)
        assert json.loads(answer.body)["failed"] > 3
        for page in ("/status", "/metrics", "/readyz?verbose", "/livez?verbose", "/startupz"):
            answer = await asyncio.to_thread(client.ask, address, page, timeout=60)
            shown[page] = answer.body.decode()
        answer = await asyncio.to_thread(client.ask, path, "/status", token=token, timeout=60)
        shown["control"] = answer.body.decode()
    finally:
        control.close()
        health.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await backends.close()
    assert "denied" in shown["/status"]
    assert "injector_backend_requests_total{" in shown["/metrics"]
    assert "LEAKY" in shown["/metrics"]
    for page, text in {**shown, "log": lines.getvalue()}.items():
        leaking = [line for line in text.splitlines() if traces(line)]
        assert not leaking, page
