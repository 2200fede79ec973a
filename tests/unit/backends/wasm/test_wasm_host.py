"""Many guests at once: deadlines, cancellation, and that none disturbs another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import until
from wasm_modules import ECHO, WASI, compiled, lookup, reactor

from injector import errors
from injector.backends.wasm.background import in_background
from injector.backends.wasm.deadline import Deadline
from injector.backends.wasm.host_function import HostFunction
from injector.backends.wasm.runtime import Runtime
from injector.errors import InjectorError
from injector.model.references import Reference, Value

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP = "(loop $for_ever (br $for_ever))"
POLL = f'(import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
SLEEP = """
    (i32.store (i32.const 40) (i32.const 1)) (i64.store (i32.const 48) (i64.const 3600000000000))
    (drop (call $poll (i32.const 24) (i32.const 128) (i32.const 1) (i32.const 200)))"""


def looping_for(letter: str, what: str = LOOP) -> str:
    """An echo that does *what* when the token begins with *letter*: it stands behind `{"token": "`."""
    return f"(if (i32.eq (i32.load8_u offset=11 (local.get $in)) (i32.const {ord(letter)})) (then {what})) {ECHO}"


async def ask(backend: Any, *paths: str, timeout: float = 60) -> dict[str, Any]:
    """What comes back by path; an error that was raised stands for the rest."""
    answers: dict[str, Any] = {}
    try:
        async for reference, outcome in backend.fetch([Reference("DEMO", path) for path in paths], timeout=timeout):
            answers[reference.path] = outcome
    except InjectorError as error:
        answers |= {path: error for path in paths if path not in answers}
    return answers


def is_echo(outcome: Any, path: str) -> bool:
    return isinstance(outcome, Value) and outcome.data.reveal() == b'{"token": "%s", "version": ""}' % path.encode()


@pytest.mark.parametrize(("what", "imports"), [(LOOP, ""), (SLEEP, POLL)], ids=["loops", "sleeps"])
async def test_a_guest_that_times_out_does_not_disturb_the_others(what: str, imports: str, start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z", what), imports=imports))
    late = asyncio.create_task(ask(backend, "z", timeout=0.5))
    rounds = [asyncio.create_task(ask(backend, f"a{number}")) for number in range(200)]
    for number, answers in enumerate(await asyncio.gather(*rounds)):
        assert is_echo(answers[f"a{number}"], f"a{number}")
    assert type((await late)["z"]) is errors.CallTimeout


async def test_a_failure_costs_its_own_token_of_a_batch(start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z", "(unreachable)")))
    answers = await ask(backend, "a", "z", "b", "c")
    assert type(answers["z"]) is errors.PluginGuestFailed
    assert all(is_echo(answers[path], path) for path in "abc")


async def test_the_answers_before_a_timeout_are_kept(start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z")))
    answers = await ask(backend, "a", "z", "b", timeout=3)
    assert is_echo(answers["a"], "a")
    assert type(answers["z"]) is type(answers["b"]) is errors.CallTimeout


@pytest.mark.parametrize(("what", "imports"), [(LOOP, ""), (SLEEP, POLL)], ids=["loops", "sleeps"])
async def test_cancelling_a_call_ends_its_guest(what: str, imports: str, start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z", what), imports=imports))
    call = asyncio.create_task(ask(backend, "z", timeout=3600))
    await until(lambda: Runtime.shared().running > 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not backend.calls_under_way)
    assert is_echo((await ask(backend, "a"))["a"], "a")


async def test_closing_ends_the_guests_and_their_threads(start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z")))
    calls = [asyncio.create_task(ask(backend, "z", timeout=3600)) for _ in range(20)]  # most of them wait for a thread
    await until(lambda: Runtime.shared().running > 0)
    await backend.close()
    answers = await asyncio.gather(*calls)
    assert all(isinstance(each["z"], InjectorError) for each in answers)
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("wasm_")])


async def test_a_call_that_finds_no_thread_times_out(start_module: Any) -> None:
    backend = await start_module("demo", reactor(looping_for("z")))
    hogs = [asyncio.create_task(ask(backend, "z", timeout=3600)) for _ in range(8)]
    await until(lambda: Runtime.shared().running == 8)
    assert type((await ask(backend, "a", timeout=0.1))["a"]) is errors.CallTimeout
    for hog in hogs:
        hog.cancel()


async def test_no_thread_ticks_while_no_guest_runs(start_module: Any) -> None:
    backend = await start_module("demo", reactor())
    await ask(backend, "a")
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "wasm-epochs"])
    assert type((await ask(backend, "a"))["a"]) is Value


async def test_a_start_that_is_cancelled_is_not_waited_for() -> None:
    go_on = threading.Event()
    start = asyncio.create_task(in_background(lambda: go_on.wait(60)))
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    go_on.set()


# -------------------------------------------------------------------- the errors of one thread never reach another


class Mine(InjectorError):
    """Raised by a host function."""


RAISING = '(import "test" "raise" (func $raise (param i32) (result i32)))'


def test_the_error_of_a_host_function_reaches_its_own_caller_only(flavour: Callable[..., Any]) -> None:
    def fail(instance: Any, number: int) -> int:
        raise Mine(instance.state["mine"])

    functions = [HostFunction("test", "raise", ("i32",), "i32", fail, failed=-1)]
    wasm = reactor(f"(drop (call $raise (i32.const 1))) {LOOP}", imports=RAISING)
    made = flavour(wasm, functions=functions)
    traps = flavour(reactor("(unreachable)"))

    def ask_both(number: int) -> tuple[InjectorError, InjectorError]:
        found = []
        for each in (made, traps):
            with each.open(Deadline(120)) as guest:
                guest.instance.state["mine"] = f"of {number}"
                ((_, outcome),) = guest.answers([Reference("DEMO", "x")])
                found.append(outcome)
        return found[0], found[1]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            outcomes = list(threads.map(ask_both, range(400)))
    finally:
        sys.setswitchinterval(before)
    assert [str(mine) for mine, _ in outcomes] == [f"of {number}" for number in range(400)]
    assert {type(trapped) for _, trapped in outcomes} == {errors.PluginGuestFailed}


def test_a_fault_of_a_host_function_is_raised_as_it_is(flavour: Callable[..., Any]) -> None:
    def fail(instance: Any, number: int) -> int:
        raise ZeroDivisionError

    made = flavour(
        reactor(f"(drop (call $raise (i32.const 1))) {ECHO}", imports=RAISING),
        functions=[HostFunction("test", "raise", ("i32",), "i32", fail, failed=-1)],
    )
    with made.open(Deadline(60)) as guest, pytest.raises(ZeroDivisionError):
        list(guest.answers([Reference("DEMO", "x")]))


@pytest.mark.seed("000:19", "000:96")
def test_four_thousand_fresh_instances_on_sixteen_threads_answer_right(flavour: Callable[..., Any]) -> None:
    made = flavour(reactor())

    def one(number: int) -> bool:
        path = f"p{number}"
        with made.open(Deadline(300)) as guest:
            ((_, outcome),) = guest.answers([Reference("DEMO", path)])
        return is_echo(outcome, path)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(one, range(4000)))


@pytest.mark.seed("000:132", "000:176")
def test_closed_instances_leave_nothing_in_the_tables_of_the_binding(flavour: Callable[..., Any]) -> None:
    from wasmtime._func import FUNCTIONS

    made = flavour(reactor())

    def one() -> None:
        with made.open(Deadline(60)) as guest:
            list(guest.answers([Reference("DEMO", "x")]))

    one()
    before = len(FUNCTIONS.handles)
    for _ in range(100):
        one()
    assert len(FUNCTIONS.handles) == before


@pytest.mark.seed("000:5", "000:8", "000:151", "000:205")
def test_nothing_survives_between_instances(flavour: Callable[..., Any]) -> None:
    counts = """
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store8 (i32.const 9) (i32.add (i32.load8_u (i32.const 9)) (i32.const 1)))
      (i32.store8 (i32.const 8) (global.get $calls))
      (return (call $give (i32.const 8) (i32.const 2) (local.get $out) (local.get $cap) (local.get $lenp)))"""
    made = flavour(reactor(counts, extra="(global $calls (mut i32) (i32.const 0))"))
    for _ in range(3):
        with made.open(Deadline(60)) as guest:
            answers = [outcome.data.reveal() for _, outcome in guest.answers([Reference("DEMO", "x")] * 2)]
        assert answers == [b"\1\1", b"\2\2"]


def test_an_interpreter_that_ends_with_open_instances_says_nothing(tmp_path: Path) -> None:
    wasm = tmp_path / "demo.wasm"
    wasm.write_bytes(
        reactor(
            f"(drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24))) {ECHO}",
            imports=f'(import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))',
        )
    )
    script = f"""
from concurrent.futures import ThreadPoolExecutor
from injector.backends.wasm.deadline import Deadline
from injector.backends.wasm.flavour import GuestConfiguration
from injector.backends.wasm.instance import InstanceLimits
from injector.backends.wasm.reactor import ReactorFlavour
from injector.backends.wasm.runtime import Runtime
from injector.model.references import Reference
from injector.telemetry.logs import Log
runtime = Runtime.shared()
module = runtime.compile(open({str(wasm)!r}, "rb").read(), "demo")
made = ReactorFlavour(
    runtime, module, name="demo", configuration=GuestConfiguration("demo"), limits=InstanceLimits(), log=Log()
)
def one(number):
    guest = made.open(Deadline(60))
    assert len(list(guest.answers([Reference("DEMO", "x")]))) == 1
    return guest
with ThreadPoolExecutor(8) as threads:
    left_open = list(threads.map(one, range(32)))
"""
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=100)
        assert (run.returncode, run.stderr) == (0, "")


async def test_deep_recursion_on_a_thread_of_the_host_is_an_error(start_module: Any) -> None:
    deeper = "(func $deeper (result i32) (i32.add (call $deeper) (i32.const 1)))"
    backend = await start_module("demo", reactor("(return (call $deeper))", extra=deeper))
    answers = await asyncio.gather(*(ask(backend, "x") for _ in range(8)))
    assert {str(each["x"]).partition(") ")[2] for each in answers} == {"used up its stack"}


@pytest.mark.seed("000:171")
async def test_two_connections_have_each_their_own_settings(start_module: Any) -> None:
    configure = """
      (global $at (mut i32) (i32.const 0)) (global $size (mut i32) (i32.const 0))
      (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32)
        (global.set $at (local.get $p)) (global.set $size (local.get $n)) (i32.const 0))"""
    give = (
        "(return (call $give (global.get $at) (global.get $size) (local.get $out) (local.get $cap) (local.get $lenp)))"
    )
    wasm = reactor(give, extra=configure)
    backends = [
        await start_module("demo", wasm, settings={"key": f"of-{name}"}, connection=name) for name in ("prod", "dev")
    ]
    rounds = await asyncio.gather(*(ask(backends[number % 2], "x") for number in range(100)))
    for number, answers in enumerate(rounds):
        assert answers["x"].data.reveal() == b'{"key": "of-%s"}' % [b"prod", b"dev"][number % 2]


@pytest.mark.seed("000:69")
async def test_an_exported_function_is_called_with_an_input(start_module: Any) -> None:
    text = """(func (export "list_markets")
      (param $in i32) (param $n i32) (param $out i32) (param $cap i32) (param $lenp i32) (result i32) """
    backend = await start_module("demo", reactor(extra=text + ECHO + "(unreachable))"))
    assert await backend.call("list_markets", b'{"limit": 5}', timeout=60) == b'{"limit": 5}'
    with pytest.raises(errors.PluginError, match="has no export other"):
        await backend.call("other", b"{}", timeout=60)
    with pytest.raises(errors.PluginError, match=r"has an export allocate of the type \(i32\) -> \(i32\)"):
        await backend.call("allocate", b"{}", timeout=60)


# ------------------------------------------------------------------------------------------------------- detection


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '(module (func (export "set_credentials") (result i32) (i32.const 0)))',
            "set_credentials and not plugin_configure",
        ),
        (
            """(module (import "extism:host/env" "input_length" (func (result i64)))
              (func (export "set_credentials") (result i32) (i32.const 0)))""",
            "set_credentials and not plugin_configure",
        ),
        ('(module (func (export "_start")))', "a WASM command"),
        ('(module (func (export "other")))', "neither a reactor plugin"),
        ('(module (memory (export "memory") 1) (func (export "strategy_token_value")))', "exports allocate"),
    ],
)
@pytest.mark.seed("000:183", "000:199", "002:238")
async def test_a_module_of_no_flavour_is_refused_with_the_reason(text: str, reason: str, start_module: Any) -> None:
    with pytest.raises(errors.PluginRefused, match=reason):
        await start_module("demo", compiled(text))


async def test_a_file_that_only_begins_as_a_module_is_refused(start_module: Any) -> None:
    with pytest.raises(errors.PluginRefused, match="no WASM module that can be compiled"):
        await start_module("demo", b"\0asm\1\0\0\0garbage")


async def test_a_module_whose_bytes_are_not_those_of_the_lock_file_is_not_compiled(start_module: Any) -> None:
    from injector.backends.lockfile import LockEntry

    with pytest.raises(errors.PluginIntegrity, match="is not the expected one"):
        await start_module("demo", lookup({}), pin=LockEntry("0" * 64, 1))
