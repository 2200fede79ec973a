"""Extism plugins: a module built by standard Go with Extism's own kit, under our host."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_http import OK, redirect
from wasm_modules import compiled

from injector import errors
from injector.backends.wasm import http_address
from injector.errors import InjectorError
from injector.model.references import Lease, Reference
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PROBE = HERE / "extismprobe"
pytestmark = [pytest.mark.go, pytest.mark.anyio]


@pytest.fixture
def start(start_module: Any, build_wasm: Callable[[Path], Path], wasm_cache: Path) -> Callable[..., Any]:
    """`await start(settings={...})`: the backend of the probe."""

    async def begin(name: str = "probe", **options: Any) -> Any:
        return await start_module(name, build_wasm(PROBE), cache=wasm_cache, **options)

    return begin


async def answers(backend: Any, *paths: str, timeout: float = 60) -> list[Any]:
    """For each path its bytes, or the error."""
    references = [Reference("PROBE", *path.split("#")) for path in paths]
    found = {reference: outcome async for reference, outcome in backend.fetch(references, timeout=timeout)}
    outcomes = (found[reference] for reference in references)
    return [outcome if isinstance(outcome, InjectorError) else outcome.data.reveal() for outcome in outcomes]


async def probe(backend: Any, text: str, *, timeout: float = 60) -> str:
    return (await backend.call("probe", text.encode(), timeout=timeout)).decode()


# --------------------------------------------------------------------------------------------------------- answers


async def test_a_batch_is_answered_by_one_call(start) -> None:
    backend = await start(settings={"secret": "s3cret"})
    values = await answers(backend, "secret", "binary", "metadata#a=b, c=d", "echo:ä")
    assert values[:2] + values[3:] == [b"s3cret", b"\0\1\xff", "ä".encode()]
    assert json.loads(values[2]) == {"a": "b", "c": "d"}


async def test_version_ttl_and_lease_arrive(start) -> None:
    backend = await start()
    ((_, value),) = [answer async for answer in backend.fetch([Reference("PROBE", "facts")], timeout=60)]
    assert (value.version, value.ttl, value.lease) == ("7", 1.5, Lease("l1", 60.0, renewable=True))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("not_found", errors.ValueNotFound),
        ("denied", errors.AccessDenied),
        ("credentials", errors.CredentialsRefused),
        ("invalid", errors.InvalidReference),
        ("throttled", errors.Throttled),
        ("unavailable", errors.BackendUnavailable),
        ("timeout", errors.CallTimeout),
        ("something else", errors.BackendUnavailable),
    ],
)
async def test_an_error_of_one_reference_is_typed_and_costs_no_other(start, kind: str, expected: type) -> None:
    backend = await start(settings={"secret": "s3cret"})
    error, value = await answers(backend, f"error:{kind}=because of this", "secret")
    assert type(error) is expected
    assert "because of this" in str(error)
    assert error.retry_after == 2.5
    assert value == b"s3cret"


async def test_an_error_of_the_whole_call_is_typed(start) -> None:
    backend = await start()
    with pytest.raises(errors.Throttled, match="slow down") as caught:
        await answers(backend, "fail:throttled 3: slow down")
    assert caught.value.retry_after == 3
    with pytest.raises(errors.BackendUnavailable, match="no idea"):
        await answers(backend, "fail:no idea")


@pytest.mark.parametrize("path", ["bad64", "both"])
async def test_an_answer_that_is_none_costs_its_own_token(start, path: str) -> None:
    bad, good = await answers(await start(), path, "echo:x")
    assert isinstance(bad, errors.PluginAnswerInvalid)
    assert good == b"x"


@pytest.mark.parametrize(
    ("path", "said"), [("none", "gave no answer for"), ("twice", "twice or unasked"), ("nonsense", "not the JSON")]
)
async def test_a_plugin_that_does_not_keep_to_the_protocol_is_told(start, path: str, said: str) -> None:
    with pytest.raises(errors.PluginAnswerInvalid, match=said):
        await answers(await start(), "echo:x", path)


async def test_a_value_larger_than_the_setting_is_refused(start) -> None:
    backend = await start(answer=1000)
    (error,) = await answers(backend, "big:1001")
    assert isinstance(error, errors.PluginAnswerInvalid)
    assert "1001 bytes" in str(error)
    assert await answers(backend, "big:1000") == [b"x" * 1000]


# --------------------------------------------------------------------------------- life cycle (seed: credentials)


@pytest.mark.seed(
    "000:5", "000:5b", "000:8", "000:9", "000:21", "000:29", "000:30", "000:39", "000:49", "000:203", "000:209"
)
async def test_nothing_survives_an_instance(start) -> None:
    backend = await start(settings={"secret": "s3cret"})
    for _ in range(3):  # globals, counters and host variables begin anew; the configuration is there each time
        state = json.loads(await probe(backend, "state"))
        assert state == {"times": 1, "calls": 1, "secret": "s3cret", "var": ""}


@pytest.mark.seed("000:7", "000:9", "000:159", "000:161")
async def test_what_one_call_sets_is_lost_to_the_next_whatever_it_is(start) -> None:
    backend = await start(settings={"who": "prod"})
    assert await probe(backend, "remember:a credential") == ""
    assert await probe(backend, "recall") == ""
    assert await backend.call("get_ohlcv", b"", timeout=60) == b"prod"


@pytest.mark.seed(
    "000:96", "000:98", "000:109", "000:110", "000:111", "000:114", "000:115", "000:116", "000:160", "000:204"
)
async def test_the_life_of_an_instance_begins_anew_with_every_call(start) -> None:
    lines = io.StringIO()
    backend = await start(settings={"who": "prod"}, log=Log(Level.DEBUG, stream=lines))
    for export in ("list_markets", "get_ohlcv"):
        assert await backend.call(export, b"", timeout=60) == b"prod"
    told = [line.partition("life: ")[2].rstrip('"') for line in lines.getvalue().splitlines() if "life: " in line]
    assert told == [
        *("initialised", "configured as ***", "list_markets as ***"),
        *("initialised", "configured as ***", "get_ohlcv as ***"),
    ]


def resident() -> int:
    """Bytes of memory that this process has."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.seed("000:112", "000:117", "000:132", "000:176")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_the_memory_of_an_instance_is_given_back_however_it_ended(start) -> None:
    backend = await start()
    for what in ("grow:30", "panic") * 2:
        with contextlib.suppress(errors.PluginGuestFailed):
            await probe(backend, what)
    before = resident()
    for _ in range(15):
        assert await probe(backend, "grow:30") == str(30 << 20)
        with pytest.raises(errors.PluginGuestFailed):
            await probe(backend, "grow:300")  # takes all that it may have, and then gives up
    assert resident() - before < 200 << 20  # of more than a gigabyte


@pytest.mark.seed("000:52", "000:100", "000:171", "000:209")
async def test_two_connections_never_see_each_others_credentials(start) -> None:
    backends = [
        await start("probe", settings={"secret": f"secret-{number}"}, connection=str(number)) for number in range(2)
    ]

    async def ask(number: int) -> None:
        for _ in range(8):
            state = json.loads(await probe(backends[number % 2], "state"))
            assert state == {"times": 1, "calls": 1, "secret": f"secret-{number % 2}", "var": ""}
            value, config = (
                (await answers(backends[number % 2], "secret"))[0],
                await probe(backends[number % 2], "config:secret"),
            )
            assert (value, config) == (f"secret-{number % 2}".encode(), f'"secret-{number % 2}" true')

    await asyncio.gather(*(ask(number) for number in range(8)))


@pytest.mark.seed("000:15", "000:19", "000:20", "000:21", "000:26", "000:125", "000:206")
async def test_compiled_modules_are_shared_and_configurations_are_not(start) -> None:
    from injector.backends.wasm.runtime import Runtime

    await start("probe", settings={"secret": "one"}, connection="1")
    before = len(Runtime.shared().modules)
    await start("probe", settings={"secret": "two"}, connection="2")
    assert len(Runtime.shared().modules) == before


@pytest.mark.seed("000:31", "000:173")
async def test_a_refused_configuration_is_said_without_its_secrets(start) -> None:
    lines = io.StringIO()
    settings = {"api_key": "hunter2-hunter2", "refuse": "the key hunter2-hunter2 is unknown"}
    backend = await start(settings=settings, connection="17", log=Log(Level.DEBUG, stream=lines))
    with pytest.raises(errors.InvalidConfiguration, match=r"does not take its settings \(probe:conn-17\)") as caught:
        await answers(backend, "secret")
    with pytest.raises(errors.InvalidConfiguration):
        await probe(backend, "echo:x")
    assert "hunter2" not in str(caught.value) + lines.getvalue()


async def test_the_text_of_a_refused_configuration_is_shown(start) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="base_url is no URL"):
        await answers(await start(settings={"base_url": "nonsense"}), "secret")


@pytest.mark.seed("000:31", "000:55")
async def test_a_configuration_that_fails_without_a_text_is_an_error(start) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="status 7"):
        await answers(await start(settings={"status": "1"}), "secret")


@pytest.mark.seed("000:31")
async def test_a_configuration_that_traps_is_an_error(start) -> None:
    with pytest.raises(errors.PluginGuestFailed):
        await answers(await start(settings={"trap": "1"}), "secret")


def module(*exports: str) -> bytes:
    functions = "".join(f'(func (export "{name}") (result i32) (i32.const 0))' for name in exports)
    return compiled(f'(module (import "extism:host/env" "input_length" (func (result i64))) {functions})')


@pytest.mark.seed("000:62", "000:63", "000:64", "000:183", "000:199")
async def test_a_module_that_only_takes_credentials_is_refused_with_the_reason(start_module) -> None:
    with pytest.raises(errors.PluginRefused, match="credentials that are set in one call are lost"):
        await start_module("old", module("set_credentials", "resolve"))


@pytest.mark.seed("000:191")
async def test_a_module_that_takes_both_is_configured(start_module) -> None:
    backend = await start_module("both", module("set_credentials", "plugin_configure", "hello"))
    assert await backend.call("hello", b"", timeout=60) == b""


@pytest.mark.seed("000:141", "000:199b")
async def test_a_module_without_configuration_is_refused(start_module) -> None:
    with pytest.raises(errors.PluginRefused, match="no export plugin_configure"):
        await start_module("bare", module("resolve"))


async def test_a_module_that_wants_more_of_its_host_is_refused(start_module) -> None:
    text = '(module (import "extism:host/env" "read_file" (func)) (func (export "plugin_configure")))'
    with pytest.raises(errors.PluginRefused, match="extism:host/env::read_file"):
        await start_module("greedy", compiled(text))


async def test_a_plugin_without_values_says_so(start_module) -> None:
    backend = await start_module("market", module("plugin_configure", "list_markets"))
    with pytest.raises(errors.PluginError, match="no export resolve"):
        await answers(backend, "x")
    with pytest.raises(errors.PluginError, match="no function get_ohlcv") as caught:
        await backend.call("get_ohlcv", b"", timeout=60)
    assert "list_markets" in (caught.value.hint or "")


# ---------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("what", ["loop", "sleep:600000"])
async def test_a_guest_ends_at_its_deadline_and_disturbs_no_other(start, what: str) -> None:
    backend = await start(settings={"secret": "s3cret"})
    ended = asyncio.create_task(probe(backend, what, timeout=3))
    await asyncio.sleep(0.2)
    assert await answers(backend, "secret") == [b"s3cret"]
    with pytest.raises(errors.CallTimeout):
        await ended


@pytest.mark.parametrize(
    ("what", "said"), [("panic", "gave up"), ("exit:0", "exited with code 0"), ("grow:300", "gave up")]
)
@pytest.mark.seed("000:133")
async def test_a_guest_that_fails_says_how(start, what: str, said: str) -> None:
    backend = await start()
    with pytest.raises(errors.PluginGuestFailed, match=said):
        await probe(backend, what)
    assert await probe(backend, "echo:again") == "again"


async def test_variables_are_bounded(start) -> None:
    backend = await start()
    assert await probe(backend, "vars:1000") == "1000"
    with pytest.raises(errors.PluginAnswerInvalid, match="1048576 are the most"):
        await probe(backend, "vars:1048577")


async def test_there_are_no_files_and_no_environment(start, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    assert await probe(await start(), "files") == "true 0"


async def test_what_a_guest_logs_is_in_our_log_without_its_credentials(start) -> None:
    lines = io.StringIO()
    backend = await start(settings={"api_key": "hunter2-hunter2"}, log=Log(Level.DEBUG, stream=lines))
    await probe(backend, "log:this hunter2-hunter2 that")
    await probe(backend, "pieces:bit by bit hunter2-hunter2")
    text = lines.getvalue()
    assert "logged this *** that" in text
    assert "printed this *** that" in text
    assert "bit by bit ***" in text
    assert "hunter2" not in text


async def test_an_error_of_a_function_is_its_text(start) -> None:
    backend = await start(settings={"api_key": "hunter2-hunter2"})
    with pytest.raises(errors.PluginError, match=r"probe failed: no \*\*\* here"):
        await probe(backend, "fail:no hunter2-hunter2 here")
    with pytest.raises(errors.AccessDenied, match="not for you"):
        await probe(backend, "fail:denied: not for you")


# ------------------------------------------------------------------------------------------------------------ HTTP


def granted(*hosts: str, **more: Any) -> dict[str, Any]:
    return {"injector": {"http": {"hosts": list(hosts), **more}}}


@pytest.mark.seed("000:77", "000:124")
async def test_a_guest_reaches_the_hosts_of_its_connection_and_no_other(start, serve) -> None:
    allowed, other = serve(OK), serve(OK)
    backend = await start(settings=granted(allowed.origin))
    assert await probe(backend, f"get:{allowed.origin}/x") == "200 1, 2 hi"
    with pytest.raises(errors.PluginHttpRefused, match="is not allowed"):
        await probe(backend, f"get:{other.origin}/x")
    assert other.heads == []


async def test_the_hosts_of_one_connection_are_not_those_of_another(start, serve) -> None:
    server = serve(OK)
    await start(settings=granted(server.origin), connection="1")
    with pytest.raises(errors.PluginHttpRefused):
        await probe(await start(connection="2"), f"get:{server.origin}/x")


async def test_a_redirect_does_not_take_the_token_along(start, serve) -> None:
    outside = serve(OK)
    server = serve(redirect(f"{outside.origin}/x"))
    backend = await start(settings=granted(server.origin, redirects=5))
    with pytest.raises(errors.PluginHttpRefused):
        await probe(backend, f"get:{server.origin}")
    backend = await start(settings=granted(server.origin, outside.origin, redirects=5), connection="2")
    assert await probe(backend, f"get:{server.origin}") == "200 1, 2 hi"
    assert b"hvs.secret" in server.heads[0]
    assert [b"hvs.secret" in head for head in outside.heads] == [False]


async def test_a_private_address_is_refused(start, serve, monkeypatch) -> None:
    server = serve(OK)
    # A mock: this machine has no name server in which a public name could have a private address.
    monkeypatch.setattr(http_address, "_resolved", lambda _: [ipaddress.ip_address("127.0.0.1")])
    url = f"http://api.example.com:{server.port}"
    with pytest.raises(errors.PluginHttpRefused, match="private network"):
        await probe(await start(settings=granted(url)), f"get:{url}")
    assert server.heads == []
    allowed = await start(settings=granted(url, networks=["127.0.0.0/8"]), connection="2")
    assert await probe(allowed, f"get:{url}") == "200 1, 2 hi"


async def test_a_slow_server_ends_with_the_call(start, serve) -> None:
    ended = threading.Event()
    server = serve(lambda connection, head: ended.wait(100))
    try:
        with pytest.raises(errors.CallTimeout):
            await probe(await start(settings=granted(server.origin)), f"get:{server.origin}", timeout=3)
    finally:
        ended.set()


async def test_an_answer_that_is_too_large_is_refused(start, serve) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
    with pytest.raises(errors.PluginHttpRefused, match="larger than 1000 bytes"):
        await probe(await start(settings=granted(server.origin, maxResponseSize=1000)), f"get:{server.origin}")


async def test_the_hosts_part_of_a_connection_is_never_given_to_the_guest(start, serve) -> None:
    server = serve(OK)
    settings = granted(server.origin) | {"token": "hvs.signs", "secret": "guest's"}
    settings["injector"]["sign"] = [{"kind": "bearer", "hosts": [server.origin]}]
    backend = await start(settings=settings)
    assert await probe(backend, f"get:{server.origin}") == "200 1, 2 hi"
    assert b"authorization: Bearer hvs.signs\r\n" in server.heads[0]
    assert await probe(backend, "config:token") == '"" false'
    assert await probe(backend, "config:injector") == '"" false'
    assert await probe(backend, "config:secret") == '"guest\'s" true'


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"http": {"host": ["x.test"]}}, "host"),
        ({"http": {"hosts": ["*"]}}, r"the host `\*` cannot be granted"),
        ({"http": {"hosts": ["https://u:pw@x.test"]}}, r"the host `x\.test` cannot be granted"),
        ({"http": {"networks": ["10.0.0.1/8"]}}, "is no network"),
        ({"sign": [{"kind": "magic", "hosts": []}]}, "magic"),
        ({"sign": [{"kind": "bearer", "hosts": ["x.test"]}]}, "no setting token to sign with"),
        ("{", "no JSON"),
    ],
)
async def test_a_hosts_part_that_makes_no_sense_is_said(start, part: Any, said: str) -> None:
    with pytest.raises(errors.InvalidConfiguration, match=said):
        await start(settings={"injector": part})


# -------------------------------------------------------------------------------------------------------- manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[Any], None]:
    """Writes the manifest beside the probe's module."""

    def write(content: Any) -> None:
        folder = tmp_path / "modules" / "probe"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "probe.json").write_text(content if isinstance(content, str) else json.dumps(content))

    return write


async def test_a_manifest_narrows_the_hosts_and_adds_none(start, serve, manifest) -> None:
    one, two, three = serve(OK), serve(OK), serve(OK)
    manifest({"allowed_hosts": ["localhost", "127.0.0.3"]})
    backend = await start(settings=granted(one.origin, f"http://localhost:{two.port}"))
    assert await probe(backend, f"get:http://localhost:{two.port}") == "200 1, 2 hi"
    with pytest.raises(errors.PluginHttpRefused, match="own manifest"):
        await probe(backend, f"get:{one.origin}")
    with pytest.raises(errors.PluginHttpRefused, match="is not allowed"):
        await probe(backend, f"get:http://127.0.0.3:{three.port}")


async def test_a_manifest_narrows_time_and_memory_and_gives_defaults(start, manifest) -> None:
    manifest({"timeout_ms": 2000, "memory": {"max_pages": 200}, "config": {"base": "default", "secret": "default"}})
    backend = await start(settings={"secret": "mine"})
    assert await probe(backend, "config:base") == '"default" true'
    assert await probe(backend, "config:secret") == '"mine" true'
    with pytest.raises(errors.CallTimeout, match="timeout_ms of its own manifest"):
        await probe(backend, "sleep:600000")
    with pytest.raises(errors.PluginGuestFailed):
        await probe(backend, "grow:20")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"allowed_paths": {"/": "/"}}, "allowed_paths"),
        ({"wasm": [{"url": "https://x.test/p.wasm"}]}, "url"),
        ({"wasm": [{"path": "probe.wasm"}, {"path": "other.wasm"}]}, "length <= 1"),
        ({"wasm": [{"path": "other.wasm"}]}, "another module"),
        ({"wasm": [{"path": "probe.wasm", "hash": "00" * 32}]}, "another hash"),
        ({"timeout_ms": "5"}, "timeout_ms"),
        ("{", "is no JSON"),
    ],
)
async def test_a_manifest_that_cannot_be_kept_is_refused(start, manifest, content: Any, said: str) -> None:
    manifest(content)
    with pytest.raises(errors.PluginRefused, match=said):
        await start()


async def test_a_manifest_that_others_may_write_is_refused(start, manifest, tmp_path: Path) -> None:
    manifest({})
    (tmp_path / "modules" / "probe" / "probe.json").chmod(0o666)
    with pytest.raises(errors.PluginRefused):
        await start()
