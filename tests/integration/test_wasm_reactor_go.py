"""Reactor plugins in Go: the upstream project's own source, our SDK, and a real store behind the host's HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

from injector import errors
from injector.backends.wasm.deadline import Deadline
from injector.errors import InjectorError
from injector.model.references import Reference
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
SEED = HERE / "wasm" / "seed"
SOURCE = "86a6df08b82d1e0dbfaf62beccdd08fae5633511fb77878e87c57be0140ccbab"
SDK = HERE.parents[1] / "examples" / "plugins" / "wasm-reactor-go"

# Compiling one of these modules takes seconds of CPU: one worker does it for all.
pytestmark = [pytest.mark.go, pytest.mark.timeout(600), pytest.mark.xdist_group("wasm-go")]


async def ask(backend: Any, *paths: str, metadata: str = "", timeout: float = 120) -> dict[str, Any]:
    """By path: the value's text, or the error."""
    answers: dict[str, Any] = {}
    try:
        async for reference, outcome in backend.fetch(
            [Reference("DEMO", path, metadata) for path in paths], timeout=timeout
        ):
            answers[reference.path] = outcome if isinstance(outcome, InjectorError) else outcome.data.reveal().decode()
    except InjectorError as error:
        answers |= {path: error for path in paths if path not in answers}
    return answers


async def ask_one(backend: Any, path: str, **options: Any) -> Any:
    return (await ask(backend, path, **options))[path]


@pytest.fixture
async def seed(start_module: Any, build_wasm: Callable[..., Path], wasm_cache: Path) -> Any:
    """The module of tests/integration/wasm/seed: upstream's main.go as it stands, with a store that misbehaves."""
    return await start_module("demo", build_wasm(SEED), cache=wasm_cache)


@pytest.mark.seed("002:30", "002:144", "002:180", "002:231", "002:232", "002:238", "002:240")
async def test_the_seeds_own_source_runs_unchanged(seed: Any) -> None:
    assert json.loads(await ask_one(seed, "/app/db", metadata="region=eu")) == {
        "token": "/app/db",
        "metadata": {"region": "eu"},
        "version": "",
    }


@pytest.mark.seed("002:30")
def test_the_source_is_that_of_the_document() -> None:
    """Its Go code, from `import (` to `func main() {}`: 199 lines."""
    package, _, source = (SEED / "main.go").read_text().partition("\n\n")
    assert package == "package main"
    assert hashlib.sha256(source.encode()).hexdigest() == SOURCE


class Strategy:
    """The calls of the seed's own guest, one by one: what a host has to do by hand."""

    def __init__(self, backend: Any) -> None:
        self.guest = backend._flavour.open(Deadline(120))
        self.instance = self.guest.instance

    def allocate(self, size: int) -> int:
        return self.instance.call("allocate", size) & 0xFFFFFFFF

    def ask(self, message: bytes, capacity: int = 1024) -> tuple[int, int, bytes]:
        """Status, what stands at outLenPtr (before it is 0xAAAAAAAA), and the first bytes of the output buffer."""
        at, room, length_at = self.allocate(len(message) or 8), self.allocate(capacity), self.allocate(4)
        self.instance.write(at, message)
        self.instance.write(length_at, b"\xaa" * 4)
        status = self.instance.call("strategy_token_value", at, len(message), room, capacity, length_at)
        return status, int.from_bytes(self.instance.read(length_at, 4), "little"), self.instance.read(room, capacity)


@pytest.fixture
async def strategy(seed: Any) -> Any:
    made = Strategy(seed)
    with made.guest:
        yield made


UNTOUCHED = 0xAAAAAAAA


def message(token: str) -> bytes:
    return json.dumps({"token": token, "version": ""}).encode()


@pytest.mark.seed("002:132", "002:140", "002:141", "002:160", "002:183", "002:191", "002:196")
async def test_the_statuses_of_the_seeds_guest_are_what_the_host_takes_them_for(strategy: Strategy) -> None:
    assert strategy.ask(b"")[:2] == (-3, 0)
    assert strategy.ask(b"\xff\xfe{}")[:2] == (-2, 4)
    assert strategy.ask(b"{")[:2] == (-5, UNTOUCHED)
    assert strategy.ask(message("fail"))[:2] == (-7, UNTOUCHED)
    assert strategy.ask(message("fail-next-init"))[0] == 0
    assert strategy.ask(message("a"))[:2] == (-6, UNTOUCHED)


@pytest.mark.seed("002:130", "002:135", "002:136", "002:137", "002:142", "002:143", "002:144", "002:205", "002:215")
async def test_the_buffers_of_the_seeds_guest_are_where_the_host_takes_them_to_be(strategy: Strategy) -> None:
    status, length, _ = strategy.ask(message("big:300"), capacity=64)
    assert (status, length) == (-1, 300)
    status, length, room = strategy.ask(message("big:300"), capacity=400)
    assert (status, length, room.rstrip(b"\0")) == (0, 300, b"x" * 300)
    status, length, room = strategy.ask(message("big:300"), capacity=300)
    assert (status, length, room) == (0, 300, b"x" * 300)


@pytest.mark.seed("002:149", "002:219")
async def test_a_panic_of_the_seeds_guest_looks_like_an_empty_value(strategy: Strategy) -> None:
    assert strategy.ask(message("panic"))[:2] == (0, 0)
    assert strategy.ask(message("empty"))[:2] == (0, 0)


@pytest.mark.seed("002:50", "002:68", "002:79", "002:86", "002:90", "002:92")
async def test_the_arena_of_the_seeds_guest_ends_with_0_and_takes_nothing_back(strategy: Strategy) -> None:
    assert strategy.allocate(0) == 0
    first = strategy.allocate(40_000)
    strategy.instance.write(first, b"x" * 40_000)
    assert strategy.allocate(40_000) == 0
    assert strategy.instance.call("deallocate", first, 40_000) is None
    assert strategy.allocate(40_000) == 0
    assert strategy.instance.read(first, 40_000) == b"x" * 40_000


@pytest.mark.seed("002:93")
async def test_an_arena_lasts_for_any_number_of_values_by_fresh_instances(seed: Any) -> None:
    async def batch(number: int) -> None:
        paths = [f"big:{8000 + 4 * number + each}" for each in range(4)]
        answers = await ask(seed, *paths)
        assert [len(answers[path]) for path in paths] == [8000 + 4 * number + each for each in range(4)]

    await asyncio.gather(*(batch(number) for number in range(40)))  # 1.3 MB through 64 KiB


@pytest.mark.seed("002:143", "002:215")
async def test_a_value_that_outgrows_the_first_buffer_is_asked_for_again(seed: Any) -> None:
    assert await ask_one(seed, "big:20000") == "x" * 20_000


@pytest.mark.fault(25, "every way in which a plugin in Go can fail is an error of its own token")
@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("fail", errors.BackendUnavailable, "could not retrieve DEMO fail"),
        ("panic", errors.ValueEmpty, "an empty value for DEMO panic"),
        ("nil", errors.ValueEmpty, "an empty value for DEMO nil"),
        ("empty", errors.ValueEmpty, "an empty value for DEMO empty"),
        ("panic-elsewhere", errors.PluginGuestFailed, "gave up: a panic"),
        ("deadlock", errors.PluginGuestFailed, "gave up"),
        ("exit:0", errors.PluginGuestFailed, "exited with code 0 instead of answering"),
        ("exit:3", errors.PluginGuestFailed, "exited with code 3"),
        ("grow:200", errors.PluginGuestFailed, "no memory left"),
        ("big:70000", errors.PluginAnswerInvalid, "larger than the memory that the plugin sets aside"),
    ],
)
@pytest.mark.seed("002:50", "002:149", "002:196", "002:219")
async def test_a_fault_of_the_seeds_plugin(path: str, kind: type[InjectorError], text: str, seed: Any) -> None:
    answers = await ask(seed, path, "/next")
    assert type(answers[path]) is kind, answers[path]
    assert text in str(answers[path])
    assert json.loads(answers["/next"])["token"] == "/next"


@pytest.mark.seed("002:191")
async def test_the_store_that_cannot_be_opened_is_an_error_of_its_own(seed: Any) -> None:
    answers = await ask(seed, "fail-next-init", "a")
    assert type(answers["a"]) is errors.BackendUnavailable
    assert "could not open its store for DEMO a" in str(answers["a"])


@pytest.mark.parametrize("path", ["loop", "sleep:3600000"])
async def test_a_guest_in_go_that_does_not_end_is_ended(path: str, seed: Any) -> None:
    began = time.monotonic()
    answers = await asyncio.gather(ask_one(seed, path, timeout=1), *(ask_one(seed, f"/{n}") for n in range(20)))
    assert type(answers[0]) is errors.CallTimeout
    assert [json.loads(each)["token"] for each in answers[1:]] == [f"/{n}" for n in range(20)]
    assert time.monotonic() - began < 120


@pytest.mark.seed("000:124")
async def test_a_guest_has_no_files_no_network_and_no_environment(seed: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert "Bad file number" in await ask_one(seed, f"read:{tmp_path}/secret")
    assert "Bad file number" in await ask_one(seed, "read:/etc/passwd")
    assert "Bad file number" in await ask_one(seed, f"write:{tmp_path}/new")
    assert not (tmp_path / "new").exists()
    assert "refused" in await ask_one(seed, "dial:127.0.0.1:80")
    assert await ask_one(seed, "environment") == "0"


@pytest.mark.seed("000:5", "000:8", "002:93")
async def test_nothing_survives_between_the_instances_of_a_go_plugin(seed: Any) -> None:
    assert [await ask_one(seed, "calls") for _ in range(3)] == ["1", "1", "1"]
    assert (await ask(seed, "/a", "calls"))["calls"] == "2"


async def test_what_a_go_plugin_prints_is_in_the_log(
    start_module: Any, build_wasm: Callable[..., Path], wasm_cache: Path
) -> None:
    stream = io.StringIO()
    backend = await start_module("demo", build_wasm(SEED), cache=wasm_cache, log=Log(Level.DEBUG, stream=stream))
    await ask_one(backend, "print:hello")
    assert "to stdout hello" in stream.getvalue()
    assert "to stderr hello" in stream.getvalue()
    await ask_one(backend, "panic-elsewhere")
    assert "a goroutine panicked" in stream.getvalue()


# ------------------------------------------------------------------------------------------------------- the SDK


@pytest.fixture
def values(start_module: Any, build_wasm: Callable[..., Path], wasm_cache: Path) -> Callable[..., Any]:
    """`await values({"path": "value"}, **options)`: the example cmd/valuestore with these."""

    async def start(known: dict[str, str], **options: Any) -> Any:
        module = build_wasm(SDK, "./cmd/valuestore")
        return await start_module("demo", module, settings={"values": known}, cache=wasm_cache, **options)

    return start


@pytest.mark.seed("000:67")
async def test_a_plugin_with_the_sdk_answers_from_its_settings(values: Any) -> None:
    known = {"/a": "1", "/b": "x" * 200_000, "/c": 'quotes " and \N{SNOWMAN}'}
    assert await ask(await values(known), *known) == known


async def test_the_sdk_keeps_a_value_that_was_too_large_for_the_first_buffer(values: Any) -> None:
    backend = await values({"/big": "x" * 500_000})
    answers = await ask(backend, "/big", "times-asked")
    assert (len(answers["/big"]), answers["times-asked"]) == (500_000, "2")


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/nope", errors.ValueNotFound, "there is no value /nope"),
        (" x", errors.InvalidReference, "a path does not begin with a blank"),
        ("panic", errors.PluginGuestFailed, "panic: as asked for"),
    ],
)
async def test_errors_of_the_sdk_have_their_kind_and_text(
    path: str, kind: type[InjectorError], text: str, values: Any
) -> None:
    error = await ask_one(await values({}), path)
    assert type(error) is kind
    assert text in str(error)


async def test_settings_that_the_plugin_refuses_are_named(values: Any) -> None:
    error = await ask_one(await values([1, 2]), "/a")
    assert type(error) is errors.InvalidConfiguration
    assert "(demo:conn-ambient): the settings are no object" in str(error)


# ----------------------------------------------------------------------- the Parameter Store, with signatures checked


@pytest.fixture(scope="module")
def signed_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Parameter Store that checks signatures: its URL and the keys of a user who may read it."""
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as output:
        setup = 4  # calls of _prepared, which nobody has to sign
        environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(setup)}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield {"url": found[1], **_prepared(found[1])}
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _prepared(url: str) -> dict[str, str]:
    import botocore.session

    def client(service: str) -> Any:
        return botocore.session.Session().create_client(
            service,
            region_name="eu-west-1",
            endpoint_url=url,
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )

    iam = client("iam")
    iam.create_user(UserName="reader")
    statement = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    client("ssm").put_parameter(Name="/app/db", Value="s3cr3t of the store", Type="SecureString")
    return {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


@pytest.fixture
def parameters(
    start_module: Any, build_wasm: Callable[..., Path], wasm_cache: Path, signed_store: dict[str, str]
) -> Callable[..., Any]:
    """`await parameters(sign=True, **other settings)`: the example cmd/parameterstore against that store."""

    async def start(*, sign: bool = True, log: Log | None = None, **settings: str) -> Any:
        host = {"hosts": [signed_store["url"]]}
        terms: dict[str, Any] = {"http": host}
        if sign:
            terms["sign"] = [{"kind": "aws-sigv4", "service": "ssm", "region": "eu-west-1", **host}]
        keys = {"aws_access_key_id": signed_store["key"], "aws_secret_access_key": signed_store["secret"]}
        return await start_module(
            "demo",
            build_wasm(SDK, "./cmd/parameterstore"),
            settings={"region": "eu-west-1", "endpoint": signed_store["url"], "injector": terms, **keys, **settings},
            cache=wasm_cache,
            log=log,
        )

    return start


async def test_a_reactor_plugin_reads_a_parameter_store_that_checks_signatures(parameters: Any) -> None:
    stream = io.StringIO()
    backend = await parameters(log=Log(Level.DEBUG, stream=stream))
    assert await ask_one(backend, "/app/db") == "s3cr3t of the store"
    assert await ask_one(backend, "/app/db", metadata="version=1") == "s3cr3t of the store"
    assert "s3cr3t" not in stream.getvalue()


async def test_a_parameter_that_is_not_there_is_missing(parameters: Any) -> None:
    error = await ask_one(await parameters(), "/nope")
    assert type(error) is errors.ValueNotFound
    assert "there is no parameter /nope" in str(error)


async def test_a_wrong_key_is_a_matter_of_credentials(parameters: Any) -> None:
    error = await ask_one(await parameters(aws_secret_access_key="wrong-wrong-wrong"), "/app/db")
    assert isinstance(error, errors.DeniedError), error
    assert "wrong-wrong" not in str(error)


async def test_without_a_grant_nothing_is_signed(parameters: Any) -> None:
    error = await ask_one(await parameters(sign=False), "/app/db")
    assert "is not granted" in str(error)


async def test_another_endpoint_than_the_granted_one_is_refused(parameters: Any) -> None:
    error = await ask_one(await parameters(endpoint="http://169.254.169.254"), "/app/db")
    assert "not allowed" in str(error) or "not granted" in str(error), error


async def test_a_plugin_that_was_granted_no_host_has_no_network(
    start_module: Any, build_wasm: Callable[..., Path], wasm_cache: Path
) -> None:
    with pytest.raises(errors.PluginRefused, match="host:http/v1::request"):
        await start_module("demo", build_wasm(SDK, "./cmd/parameterstore"), cache=wasm_cache)
