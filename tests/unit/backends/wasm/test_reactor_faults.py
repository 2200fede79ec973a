"""Row 25 of the fault table: whatever a module does, it costs its own token, and says why."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from wasm_modules import BUMP, ECHO, WASI, compiled, data, reactor

from injector import errors
from injector.backends.wasm.deadline import Deadline
from injector.errors import PluginRefused
from injector.model.references import Reference
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT = f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'
WRITE = f'(import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
POLL = f'(import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
SLEEP_AN_HOUR = """
    (i32.store (i32.const 40) (i32.const 1))
    (i64.store (i32.const 48) (i64.const 3600000000000))
    (drop (call $poll (i32.const 24) (i32.const 128) (i32.const 1) (i32.const 200)))"""


def lengths(value: str, status: int) -> str:
    return f"(i32.store (local.get $lenp) {value}) (return (i32.const {status}))"


FAULTS: dict[str, tuple[dict[str, Any], type[errors.InjectorError], str]] = {
    "a trap": ({"strategy": "(unreachable)"}, errors.PluginGuestFailed, "gave up"),
    "a division by zero": (
        {"strategy": "(return (i32.div_u (i32.const 1) (i32.const 0)))"},
        errors.PluginGuestFailed,
        "integer division by zero",
    ),
    "a wild pointer": (
        {"strategy": "(return (i32.load (i32.const 0x7ffffff0)))"},
        errors.PluginGuestFailed,
        "memory that it does not have",
    ),
    "endless recursion": (
        {
            "strategy": "(return (call $deeper))",
            "extra": "(func $deeper (result i32) (i32.add (call $deeper) (i32.const 1)))",
        },
        errors.PluginGuestFailed,
        "used up its stack",
    ),
    "an exit with code 0": (
        {"strategy": "(call $exit (i32.const 0))", "imports": EXIT},
        errors.PluginGuestFailed,
        "exited with code 0",
    ),
    "an exit with code 3": (
        {"strategy": "(call $exit (i32.const 3))", "imports": EXIT},
        errors.PluginGuestFailed,
        "exited with code 3",
    ),
    "memory.grow without an end": (
        {"strategy": "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)"},
        errors.PluginGuestFailed,
        "no memory left",
    ),
    "success with a length beyond the buffer": (
        {"strategy": lengths("(i32.const 0x7fffffff)", 0)},
        errors.PluginAnswerInvalid,
        "status 0 and 2147483647 bytes",
    ),
    "success with a negative length": (
        {"strategy": lengths("(i32.const -1)", 0)},
        errors.PluginAnswerInvalid,
        "status 0 and 4294967295 bytes",
    ),
    "too small, and a length that fits": (
        {"strategy": lengths("(i32.const 5)", -1)},
        errors.PluginAnswerInvalid,
        "status -1 and 5 bytes",
    ),
    "too small, whatever it is given": (
        {"strategy": lengths("(i32.add (local.get $cap) (i32.const 1))", -1)},
        errors.PluginAnswerInvalid,
        "again and again",
    ),
    "too small, and more than is allowed": (
        {"strategy": lengths("(i32.const 0x70000000)", -1)},
        errors.PluginAnswerInvalid,
        "are the most for a value",
    ),
    "allocate that gives 0": (
        {"allocate": '(func (export "allocate") (param i32) (result i32) (i32.const 0))'},
        errors.PluginAnswerInvalid,
        "has no room",
    ),
    "allocate that points outside": (
        {"allocate": '(func (export "allocate") (param i32) (result i32) (i32.const 0x7ffffff0))'},
        errors.PluginAnswerInvalid,
        "points outside of its memory",
    ),
    "allocate that points before the end": (
        {"allocate": '(func (export "allocate") (param i32) (result i32) (i32.const 131070))'},
        errors.PluginAnswerInvalid,
        "points outside of its memory",
    ),
    "allocate with a negative pointer": (
        {"allocate": '(func (export "allocate") (param i32) (result i32) (i32.const -16))'},
        errors.PluginAnswerInvalid,
        "points outside of its memory",
    ),
    "an empty value": ({"strategy": lengths("(i32.const 0)", 0)}, errors.ValueEmpty, "an empty value for DEMO x"),
    "status -2": ({"strategy": "(return (i32.const -2))"}, errors.InvalidReference, "not UTF-8"),
    "status -3": ({"strategy": "(return (i32.const -3))"}, errors.InvalidReference, "is empty"),
    "status -4": ({"strategy": "(return (i32.const -4))"}, errors.PluginGuestFailed, "failed inside"),
    "status -5": ({"strategy": "(return (i32.const -5))"}, errors.InvalidReference, "cannot read the message"),
    "status -6": ({"strategy": "(return (i32.const -6))"}, errors.BackendUnavailable, "could not open its store"),
    "status -7": ({"strategy": "(return (i32.const -7))"}, errors.BackendUnavailable, "could not retrieve"),
    "a status that nobody knows": (
        {"strategy": "(return (i32.const -99))"},
        errors.PluginAnswerInvalid,
        "unknown status -99",
    ),
}


@pytest.mark.fault(25, "the token's own error says what the module did; the host and other tokens go on")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.seed("002:79", "002:86", "002:132", "002:137", "002:183", "002:191", "002:196", "002:209")
def test_a_fault_of_a_module_is_the_error_of_its_token(fault: str, outcome: Callable[..., Any]) -> None:
    module, kind, text = FAULTS[fault]
    error = outcome(reactor(**module))
    assert type(error) is kind, error
    assert text in str(error)
    assert str(error).startswith("plugin demo")
    assert outcome(reactor(), "after") == b'{"token": "after", "version": ""}'


@pytest.mark.fault(25, "an endless loop ends at the call's deadline")
@pytest.mark.parametrize(
    "strategy", ["(loop $for_ever (br $for_ever))", SLEEP_AN_HOUR], ids=["a loop", "a guest that sleeps"]
)
def test_a_guest_that_does_not_end_is_ended_at_the_deadline(strategy: str, outcome: Callable[..., Any]) -> None:
    began = time.monotonic()
    error = outcome(reactor(strategy, imports=POLL), timeout=0.3)
    assert type(error) is errors.CallTimeout
    assert "within 0.3 s" in str(error)
    assert 0.3 <= time.monotonic() - began < 60


def test_a_guest_may_sleep_within_its_deadline(outcome: Callable[..., Any]) -> None:
    nap = SLEEP_AN_HOUR.replace("3600000000000", "20000000")
    began = time.monotonic()
    assert outcome(reactor(nap + ECHO, imports=POLL)).startswith(b'{"token"')
    assert time.monotonic() - began >= 0.02


def test_a_loop_in_the_initialisation_ends_as_well(flavour: Callable[..., Any]) -> None:
    with pytest.raises(errors.CallTimeout):
        flavour(reactor(initialize="(loop $for_ever (br $for_ever))")).open(Deadline(0.2))


@pytest.mark.seed("002:143")
def test_a_value_that_needs_more_room_is_asked_for_again(outcome: Callable[..., Any]) -> None:
    grown = """
      (i32.store (local.get $lenp) (i32.const 100000))
      (if (i32.lt_u (local.get $cap) (i32.const 100000)) (then (return (i32.const -1))))
      (memory.fill (local.get $out) (i32.const 120) (local.get $cap))
      (return (i32.const 0))"""
    assert outcome(reactor(grown)) == b"x" * 100_000


def test_a_value_may_be_any_bytes(outcome: Callable[..., Any]) -> None:
    content = bytes(range(256))
    give = "(return (call $give (i32.const 8) (i32.const 256) (local.get $out) (local.get $cap) (local.get $lenp)))"
    assert outcome(reactor(give, extra=data(8, content))) == content


@pytest.mark.seed("002:135", "002:180")
def test_the_message_has_path_metadata_and_an_empty_version(outcome: Callable[..., Any]) -> None:
    assert outcome(reactor(), "a/b\N{SNOWMAN}", "region=eu, v=1") == (
        '{"token": "a/b\N{SNOWMAN}", "metadata": {"region": "eu", "v": "1"}, "version": ""}'.encode()
    )


@pytest.mark.seed("000:133")
def test_an_instance_that_failed_is_not_used_again(flavour: Callable[..., Any]) -> None:
    with flavour(reactor("(unreachable)")).open(Deadline(30)) as guest:
        answers = list(guest.answers([Reference("DEMO", "a"), Reference("DEMO", "b")]))
        assert [reference.path for reference, _ in answers] == ["a"]
        with pytest.raises(errors.PluginError, match="not used again"):
            guest.instance.call("allocate", 8)


# ------------------------------------------------------------------------------------------- modules that are refused


def without(export: str) -> bytes:
    """A reactor whose export has another name."""
    exports = {"memory": f'(memory (export "{export}x") 2)'} if export == "memory" else {}
    wasm = reactor(**exports)
    return wasm.replace(bytes([len(export)]) + export.encode(), bytes([len(export)]) + export[:-1].encode() + b"_")


@pytest.mark.parametrize("export", ["allocate", "memory"])
@pytest.mark.seed("002:68")
def test_a_module_without_an_export_of_the_protocol_is_refused(export: str, flavour: Callable[..., Any]) -> None:
    with pytest.raises(PluginRefused, match=f"exports {export}, and it does not"):
        flavour(without(export))


@pytest.mark.seed("002:131")
def test_the_older_form_with_seven_arguments_is_refused_by_name(flavour: Callable[..., Any]) -> None:
    older = compiled(
        f"""(module (memory (export "memory") 1) (global $top (mut i32) (i32.const 8)) {BUMP}
        (func (export "_initialize"))
        (func (export "strategy_token_value") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0)))"""
    )
    with pytest.raises(PluginRefused, match="as older plugins had it") as caught:
        flavour(older)
    assert "(i32, i32, i32, i32, i32) -> (i32) is expected" in caught.value.message


def test_a_module_that_wants_what_the_host_does_not_have_is_refused(flavour: Callable[..., Any]) -> None:
    with pytest.raises(PluginRefused, match="it wants host:http/v1::request"):
        flavour(reactor(imports='(import "host:http/v1" "request" (func (param i32 i32 i32) (result i32)))'))


def test_an_unknown_function_of_wasi_is_refused(flavour: Callable[..., Any]) -> None:
    with pytest.raises(PluginRefused, match="sock_connect"):
        flavour(reactor(imports=f'(import "{WASI}" "sock_connect" (func (param i32) (result i32)))'))


def test_a_module_that_needs_more_memory_than_it_may_have_is_an_error(flavour: Callable[..., Any]) -> None:
    with pytest.raises(errors.PluginGuestFailed, match="more memory than plugins may have"):
        flavour(reactor(), memory=65536).open(Deadline(30))


# ---------------------------------------------------------------------------------------------- configuration, errors


CONFIGURE = """
  (global $at (mut i32) (i32.const 0)) (global $size (mut i32) (i32.const 0))
  (func (export "plugin_configure") (param $p i32) (param $n i32) (result i32)
    (global.set $at (local.get $p)) (global.set $size (local.get $n)) (i32.const 0))"""
CONFIGURED = (
    "(return (call $give (global.get $at) (global.get $size) (local.get $out) (local.get $cap) (local.get $lenp)))"
)


@pytest.mark.seed("000:29", "000:67", "000:70", "000:128", "000:165", "000:168", "000:195")
def test_every_instance_is_configured_before_it_is_asked(outcome: Callable[..., Any]) -> None:
    wasm = reactor(CONFIGURED, extra=CONFIGURE)
    assert outcome(wasm, settings={"api_key": "k", "n": [1]}) == b'{"api_key": "k", "n": [1]}'
    assert outcome(wasm) == b"{}"


def test_settings_that_a_module_does_not_take_are_an_error(flavour: Callable[..., Any]) -> None:
    refuses = """(func (export "plugin_configure") (param i32 i32) (result i32) (i32.const -5))"""
    with pytest.raises(
        errors.InvalidConfiguration, match=r"does not take its settings \(demo:conn-ambient\): status -5"
    ):
        flavour(reactor(extra=refuses), settings={"api_key": "s3cr3t"}).open(Deadline(30))


@pytest.mark.seed("000:199b")
def test_settings_for_a_module_that_cannot_be_configured_are_an_error(flavour: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="has no plugin_configure") as caught:
        flavour(reactor(), settings={"api_key": "s3cr3t"})
    assert "s3cr3t" not in str(caught.value)


def said(text: str, status: int = -7) -> bytes:
    """A reactor that fails with *status*, and says *text*."""
    length = len(text.encode())
    last_error = f"""(func (export "last_error") (param $to i32) (param $cap i32) (result i32)
      (memory.copy (local.get $to) (i32.const 8) (i32.const {length})) (i32.const {length}))"""
    return reactor(f"(return (i32.const {status}))", extra=last_error + data(8, text.encode()))


@pytest.mark.parametrize(
    ("text", "kind", "shown", "pause"),
    [
        ("not_found: there is no /a", errors.ValueNotFound, "plugin demo: there is no /a", None),
        ("denied: not yours", errors.AccessDenied, "plugin demo: not yours", None),
        ("credentials: expired", errors.CredentialsRefused, "plugin demo: expired", None),
        ("throttled 2.5: slow down", errors.Throttled, "plugin demo: slow down", 2.5),
        ("invalid: a path begins with /", errors.InvalidReference, "plugin demo: a path begins with /", None),
        ("no such parameter", errors.BackendUnavailable, "could not retrieve DEMO x: no such parameter", None),
        ("two\nlines\x1b[31m", errors.BackendUnavailable, "two lines [31m", None),
        ("not_found: ", errors.ValueNotFound, "has no value for DEMO x", None),
    ],
)
def test_what_a_module_says_of_its_failure_decides_the_error(
    text: str, kind: type[errors.ResolutionError], shown: str, pause: float | None, outcome: Callable[..., Any]
) -> None:
    error = outcome(said(text))
    assert type(error) is kind
    assert shown in str(error)
    assert error.retry_after == pause


def test_a_last_error_that_lies_about_its_length_is_cut(outcome: Callable[..., Any]) -> None:
    lies = """(func (export "last_error") (param i32 i32) (result i32) (i32.const 0x7fffffff))"""
    assert type(outcome(reactor("(return (i32.const -7))", extra=lies))) is errors.BackendUnavailable


def test_a_value_in_the_text_of_a_failure_is_masked(outcome: Callable[..., Any]) -> None:
    log = Log(Level.OFF)
    log.redactor.add(b"hunter2-hunter2")
    assert "hunter2" not in str(outcome(said("denied: hunter2-hunter2 is no key"), log=log))


# ------------------------------------------------------------------------------------------------- what guests print


def printing(pieces: int) -> str:
    """Writes 4 KiB of `a` and a line break to standard error, *pieces* times."""
    return f"""
    (memory.fill (i32.const 4096) (i32.const 97) (i32.const 4095)) (i32.store8 (i32.const 8191) (i32.const 10))
    (i32.store (i32.const 16) (i32.const 4096)) (i32.store (i32.const 20) (i32.const 4096))
    (loop $again
      (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const {pieces}))))"""


def test_what_a_guest_prints_is_capped_and_logged_at_debug(outcome: Callable[..., Any]) -> None:
    stream = io.StringIO()
    wasm = reactor(
        printing(1000) + lengths("(i32.const 0)", 0), imports=WRITE, initialize="(global.set $top (i32.const 65536))"
    )
    outcome(wasm, log=Log(Level.DEBUG, stream=stream), printed=10_000)
    assert 2 <= stream.getvalue().count("a WASM plugin says") <= 4
    assert len(stream.getvalue()) < 20_000


def test_what_a_guest_prints_is_redacted(outcome: Callable[..., Any]) -> None:
    stream = io.StringIO()
    log = Log(Level.DEBUG, stream=stream)
    log.redactor.add(b"hunter2-hunter2")
    text = data(64, b"the key is hunter2-hunter2\n")
    call = """(i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 27))
      (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))"""
    outcome(reactor(call + ECHO, imports=WRITE, extra=text), log=log)
    assert "the key is ***" in stream.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        "(i32.const 1) (i32.const 0x7ffffff0) (i32.const 1) (i32.const 24)",
        "(i32.const 1) (i32.const 16) (i32.const 1) (i32.const -4)",
        "(i32.const 1) (i32.const 131070) (i32.const 1000) (i32.const 24)",
    ],
    ids=["parts", "count", "too many parts"],
)
def test_hostile_pointers_of_a_print_are_an_error(arguments: str, outcome: Callable[..., Any]) -> None:
    error = outcome(reactor(f"(drop (call $write {arguments})) {ECHO}", imports=WRITE))
    assert type(error) is errors.PluginAnswerInvalid
    assert "outside of its memory" in str(error)


def test_a_write_to_another_descriptor_is_a_bad_descriptor(outcome: Callable[..., Any]) -> None:
    call = "(i32.store8 (i32.const 8) (call $write (i32.const 3) (i32.const 16) (i32.const 1) (i32.const 24)))"
    give = "(return (call $give (i32.const 8) (i32.const 1) (local.get $out) (local.get $cap) (local.get $lenp)))"
    assert outcome(reactor(call + give, imports=WRITE)) == bytes([8])
