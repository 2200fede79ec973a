"""Protocol 2 over real processes: plugins built with the SDK under our host, and under Go's."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.backends.goplugin.wiring import Wiring
from injector.model.policy import AutoMtls
from injector.model.references import Lease, Reference, Value
from injector.telemetry.logs import Level, Log

PLUGIN = """
import json, os, sys, threading, time
from injector.sdk.errors import AccessDenied, InvalidConfiguration, NotFound, Throttled
from injector.sdk.serving import serve
from injector.sdk.store import Answer, Description, Lease, RateLimit, TokenStore

FOLDER = os.path.dirname(os.path.abspath(__file__))

def note(name, what):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(json.dumps(what) + "\\n")

class Demo(TokenStore):
    def __init__(self):
        self.settings = {}

    def describe(self):
        return Description(prefixes=("DEMO",), largest_batch=50, most_in_flight=4, rate_limit=RateLimit(1000, 500))

    def configure(self, connection, settings):
        if "colour" in settings:
            raise InvalidConfiguration("there is no setting colour", hint="leave it away")
        self.settings[connection] = settings

    def resolve(self, references):
        note("batches", len(references))
        for reference in references:
            word, _, rest = reference.path.partition(":")
            if word == "missing":
                yield reference, NotFound("nothing there")
            elif word == "denied":
                yield reference, AccessDenied("not for you")
            elif word == "slow":
                yield reference, Throttled("slower", retry_after=2.5)
            elif word == "binary":
                yield reference, bytes(range(256))
            elif word == "leased":
                yield reference, Answer("x", version="v7", ttl=90, lease=Lease("lease-" + rest, 60.0, True))
            elif word == "big":
                yield reference, "x" * int(rest)
            elif word == "settings":
                yield reference, json.dumps(self.settings)
            elif word == "wait":
                try:
                    deadline = time.monotonic() + 100
                    while not os.path.exists(rest) and time.monotonic() < deadline:
                        time.sleep(0.02)
                        yield from ()
                finally:
                    note("waited", rest)
                yield reference, "waited"
            elif word == "crash":
                os._exit(3)
            elif word == "bug":
                raise RuntimeError("hunter2")
            elif word == "wrong":
                yield reference, 3
            elif word != "silent":
                yield reference, "value of " + reference.path + reference.raw_metadata

    def watch(self, references):
        try:
            while True:
                for reference in references:
                    if os.path.exists(reference.path):
                        os.unlink(reference.path)
                        yield reference
                yield None
                time.sleep(0.02)
        finally:
            note("watch-ended", len(references))

    def release(self, leases):
        note("released", sorted(leases))

serve(Demo(), name="demo", version="1.2.3")
"""

LOOKUP = """
from injector.sdk.errors import NotFound
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Demo(LookupStore):
    def look_up(self, reference):
        if reference.path == "missing":
            raise NotFound("nothing there")
        return reference.path.encode() + b"\\xff" * (reference.path == "binary")

serve(Demo())
"""


def script(source: str) -> str:
    return f"#!{sys.executable}\n{source}"


def references(*paths: str, metadata: str = "") -> list[Reference]:
    return [Reference("DEMO", path, metadata) for path in paths]


async def ask(backend, *paths: str, timeout: float = PATIENCE) -> dict[str, object]:
    """What each path got: text, bytes that are no text, or the code of an error; a failed call stands for the rest."""
    seen: dict[str, object] = {}
    try:
        async for reference, outcome in backend.fetch(references(*paths), timeout=timeout):
            assert reference.path not in seen
            seen[reference.path] = outcome
    except errors.InjectorError as error:
        for path in paths:
            seen.setdefault(path, error)
    return {path: plain(outcome) for path, outcome in seen.items()}


def plain(outcome: object) -> object:
    if isinstance(outcome, errors.InjectorError):
        return outcome.code
    assert isinstance(outcome, Value)
    data = outcome.data.reveal()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


@pytest.fixture
async def demo(start_backend, install):
    return await start_backend(install("demo", script(PLUGIN)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the plugin's notes are."""
    return tmp_path / "plugins" / "demo"


def notes(folder: Path, name: str) -> list[object]:
    file = folder / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_the_highest_common_version_is_2_and_the_limits_are_the_plugins(demo) -> None:
    assert demo.protocol == 2
    limits = demo.limits
    assert (limits.largest_batch, limits.most_in_flight) == (50, 4)
    assert limits.rate is not None
    assert (limits.rate.calls_per_second, limits.rate.burst) == (1000, 500)


async def test_a_host_that_offers_1_only_gets_1_from_the_same_program(start_backend, install) -> None:
    backend = await start_backend(install("demo", script(PLUGIN)), versions=(1,))
    assert (backend.protocol, backend.limits.largest_batch) == (1, 1)
    assert await ask(backend, "/a", "missing", "binary") == {
        "/a": "value of /a",
        "missing": "value-not-found",
        "binary": "backend-unavailable",  # bytes that are no text: protocol 1 has no way to carry them
    }


@pytest.mark.fault(54, "it costs itself, and no further fetch")
async def test_a_batch_is_one_call_and_one_that_fails_costs_itself_only(demo, folder) -> None:
    paths = [f"/{n}" for n in range(46)] + ["missing", "denied", "slow", "binary"]
    answers = await ask(demo, *paths)
    assert notes(folder, "batches") == [50]
    assert answers.pop("missing") == "value-not-found"
    assert answers.pop("denied") == "access-denied"
    assert answers.pop("slow") == "backend-throttled"
    assert answers.pop("binary") == bytes(range(256))
    assert answers == {f"/{n}": f"value of /{n}" for n in range(46)}


async def test_path_and_metadata_arrive_exactly_as_they_are(demo) -> None:
    asked = Reference("DEMO", "ünïcødé/☃ %20|x[y]", "k=v,ä= x ")
    ((reference, outcome),) = [pair async for pair in demo.fetch([asked], timeout=PATIENCE)]
    assert reference == asked
    assert plain(outcome) == f"value of {asked.path}{asked.metadata}"


async def test_version_ttl_and_lease_come_with_the_value_and_the_lease_is_given_back(demo, folder) -> None:
    ((_, value),) = [pair async for pair in demo.fetch(references("leased:1"), timeout=PATIENCE)]
    assert (value.version, value.ttl, value.lease) == ("v7", 90.0, Lease("lease-1", 60.0, renewable=True))
    assert await ask(demo, "leased:2", "leased:1") == {"leased:2": "x", "leased:1": "x"}
    await demo.close()
    assert notes(folder, "released") == [["lease-1", "lease-2"]]


async def test_answers_are_there_before_the_batch_is_done(demo, tmp_path) -> None:
    flag = tmp_path / "flag"
    answers = demo.fetch(references("/first", f"wait:{flag}"), timeout=PATIENCE)
    reference, outcome = await anext(answers)
    assert (reference.path, plain(outcome)) == ("/first", "value of /first")
    flag.touch()
    _, outcome = await anext(answers)
    assert plain(outcome) == "waited"
    with pytest.raises(StopAsyncIteration):
        await anext(answers)


async def test_a_deadline_ends_the_call_and_keeps_what_was_answered(demo, tmp_path) -> None:
    started = time.monotonic()
    answers = await ask(demo, "/first", f"wait:{tmp_path}/never", timeout=4.0)
    assert answers == {"/first": "value of /first", f"wait:{tmp_path}/never": "backend-timeout"}
    assert time.monotonic() - started < PATIENCE
    assert await ask(demo, "/next") == {"/next": "value of /next"}
    (tmp_path / "never").touch()


async def test_an_answer_that_is_wrong_or_not_given_costs_its_own_reference(demo) -> None:
    assert await ask(demo, "/a", "wrong", "silent", "/b") == {
        "/a": "value of /a",
        "wrong": "plugin-answer-invalid",
        "silent": "plugin-answer-invalid",
        "/b": "value of /b",
    }


async def test_an_exception_of_the_author_is_told_by_its_type_only(start_backend, install) -> None:
    text = io.StringIO()
    backend = await start_backend(install("demo", script(PLUGIN)), log=Log(Level.TRACE, stream=text))
    assert await ask(backend, "/a", "bug", "/b") == {
        "/a": "value of /a",
        "bug": "backend-unavailable",
        "/b": "backend-unavailable",
    }
    await until(lambda: "RuntimeError" in text.getvalue())
    await backend.close()
    assert "hunter2" not in text.getvalue()


async def test_a_crash_says_so_for_what_was_open_and_later_calls_are_refused(demo) -> None:
    answers = await ask(demo, "/a", "crash", "/b")
    # What was answered just before may have left the dying process, or not.
    assert answers.pop("/a") in {"value of /a", "plugin-crashed"}
    assert answers == {"crash": "plugin-crashed", "/b": "plugin-crashed"}
    assert await ask(demo, "/c") == {"/c": "plugin-crashed"}


@pytest.mark.fault(10, "an error of that token; the limit is a setting")
async def test_a_value_beyond_the_limit_costs_itself_and_larger_limits_let_it_through(start_backend, install) -> None:
    candidate = install("demo", script(PLUGIN))
    backend = await start_backend(candidate, max_value_bytes=1000)
    assert await ask(backend, "big:1001", "/a") == {"big:1001": "plugin-answer-invalid", "/a": "value of /a"}
    await backend.close()
    backend = await start_backend(candidate, max_value_bytes=80_000_000)
    answers = await ask(backend, "big:70000000", "big:30000000")
    assert sorted(map(len, answers.values())) == [30_000_000, 70_000_000]


# ------------------------------------------------------------------------------------------- describe and configure


async def test_a_plugin_under_another_name_than_its_prefix_is_not_used(start_backend, install) -> None:
    with pytest.raises(errors.PluginError, match="does not answer for OTHER but for DEMO"):
        await start_backend(install("other", script(PLUGIN)))


async def test_the_configuration_is_there_before_the_first_call(start_backend, install) -> None:
    settings = {"region": "eu-west-1", "tries": 3, "deep": {"list": [1.5, True, None]}}
    backend = await start_backend(install("demo", script(PLUGIN)), configuration=settings)
    assert json.loads(str((await ask(backend, "settings"))["settings"])) == {"": settings}


async def test_without_a_configuration_the_plugin_is_not_configured(demo) -> None:
    assert await ask(demo, "settings") == {"settings": "{}"}


async def test_a_configuration_that_the_plugin_refuses_ends_the_start_with_its_reason(start_backend, install) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="there is no setting colour") as caught:
        await start_backend(install("demo", script(PLUGIN)), configuration={"colour": "red"})
    assert caught.value.hint == "leave it away"


async def test_a_plugin_of_protocol_1_cannot_be_configured(start_backend, install) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="speaks protocol 1"):
        await start_backend(install("demo", script(LOOKUP)), configuration={"a": 1}, versions=(1,))


async def test_a_store_that_takes_no_settings_says_so(start_backend, install) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="takes no settings"):
        await start_backend(install("demo", script(LOOKUP)), configuration={"a": 1})


# ------------------------------------------------------------------------------------------------------------ watch


async def test_a_watch_tells_what_changed_and_ends_with_its_reader(demo, folder, tmp_path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    watch = demo.watch(references(*map(str, files)))
    files[1].touch()
    assert (await anext(watch)).path == str(files[1])
    files[0].touch()
    assert (await anext(watch)).path == str(files[0])
    assert await ask(demo, "/a") == {"/a": "value of /a"}  # at the same time
    await watch.aclose()
    await until(lambda: notes(folder, "watch-ended") == [2])


async def test_stores_and_protocols_that_cannot_watch_say_so(start_backend, install) -> None:
    candidate = install("demo", script(LOOKUP))
    with pytest.raises(errors.PluginError, match="cannot watch"):
        await anext((await start_backend(candidate)).watch(references("/a")))
    with pytest.raises(errors.PluginError, match="protocol 1"):
        (await start_backend(candidate, versions=(1,))).watch(references("/a"))


@pytest.mark.go
async def test_a_plugin_in_go_is_configured_asked_and_watched(start_backend, install, watchstore, tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text('{"/a": "one", "/b": 2}')
    options = {"configuration": {"file": str(file)}, "wiring": Wiring(auto_mtls=AutoMtls.REQUIRE)}
    backend = await start_backend(install("watchstore", watchstore), **options)
    assert backend.limits.largest_batch == 100
    assert await ask(backend, "/a", "/b") == {"/a": "one", "/b": "2"}
    watch = backend.watch(references("/a", "/b"))
    told = asyncio.ensure_future(anext(watch))
    content = itertools.count()

    async def change_until_told() -> bool:  # nothing says when it has begun
        (tmp_path / "new").write_text(f'{{"/a": "one", "/b": {next(content)}}}')
        (tmp_path / "new").rename(file)
        await asyncio.sleep(0.3)
        return told.done()

    while not await change_until_told():
        pass
    assert told.result().path == "/b"
    await watch.aclose()


# ------------------------------------------------------------------------------------------------- protocol 1 beside


async def test_a_lookup_store_written_for_protocol_1_serves_both_and_gains_bytes(start_backend, install) -> None:
    candidate = install("demo", script(LOOKUP))
    second = await start_backend(candidate)
    assert (second.protocol, second.limits.largest_batch, second.limits.most_in_flight) == (2, 1, 32)
    assert await ask(second, "/a") == {"/a": "/a"}
    assert await ask(second, "missing") == {"missing": "value-not-found"}
    assert await ask(second, "binary") == {"binary": b"binary\xff"}
    first = await start_backend(candidate, versions=(1,))
    assert await ask(first, "/a", "missing") == {"/a": "/a", "missing": "value-not-found"}
    assert await ask(first, "binary") == {"binary": "backend-unavailable"}


@pytest.mark.go
async def test_a_go_plugin_that_knows_protocol_1_only_is_spoken_to_in_1(start_backend, install, demostore) -> None:
    backend = await start_backend(install("demo", demostore))
    assert (backend.protocol, backend.limits.largest_batch) == (1, 1)
    assert await ask(backend, "/a") == {"/a": "demo value of /a"}


@pytest.mark.go
@pytest.mark.parametrize("versions", ["1", "1,2"])
def test_gos_host_drives_the_same_program(go_host, python_plugin, versions) -> None:
    command = [go_host, "-versions", versions, "-token", "/a", "-metadata", "k=v", python_plugin(source=PLUGIN)]
    report = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert report["version"] == int(versions[-1])
    assert [call["value"] for call in report["calls"]] == ["value of /ak=v"]


async def test_nothing_grows_over_a_thousand_batches(demo) -> None:
    async def batch(number: int) -> None:
        assert len(await ask(demo, *(f"/{number}/{n}" for n in range(50)))) == 50

    process = psutil.Process(demo.pid)
    for number in range(50):
        await batch(number)
    before = (process.num_threads(), process.num_fds(), process.memory_info().rss, psutil.Process().num_fds())
    for number in range(1000):
        await batch(number)
    after = (process.num_threads(), process.num_fds(), process.memory_info().rss, psutil.Process().num_fds())
    assert after[0] <= before[0] + 4
    assert after[1] <= before[1] + 4
    assert after[2] - before[2] < 8 << 20
    assert after[3] <= before[3] + 4
