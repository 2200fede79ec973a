"""A plugin's standard error in our log."""

from __future__ import annotations

import io
import json

import pytest

from injector.backends.goplugin.hclog import Entry, LineSplitter, PluginLog, parse
from injector.telemetry.logs import Level, Log
from injector.telemetry.redaction import Redactor


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"@level":"warn","@message":"m","@timestamp":"2024-01-01T00:00:00.000000Z","k":1,"l":[1,"é"]}',
            Entry(Level.WARNING, "m", {"k": "1", "l": '[1, "é"]'}),
        ),
        ('{"@level":"nonsense","@message":"m"}', Entry(Level.DEBUG, "m", {})),
        ('{"@level":["a"],"@message":"m"}', Entry(Level.DEBUG, "m", {})),
        ('{"@message":3}', Entry(Level.DEBUG, '{"@message":3}', {})),
        ('{"message":"m"}', Entry(Level.DEBUG, '{"message":"m"}', {})),
        ("[1,2]", Entry(Level.DEBUG, "[1,2]", {})),
        ("3", Entry(Level.DEBUG, "3", {})),
        ("{not json", Entry(Level.DEBUG, "{not json", {})),
        ("[ERROR] it broke", Entry(Level.ERROR, "it broke", {})),
        ("[WARN]  careful", Entry(Level.WARNING, "careful", {})),
        ("[OTHER] x", Entry(Level.DEBUG, "[OTHER] x", {})),
        ("panic: boom", Entry(Level.ERROR, "panic: boom", {})),
        ("fatal error: x", Entry(Level.ERROR, "fatal error: x", {})),
        ("", Entry(Level.DEBUG, "", {})),
    ],
)
def test_a_line_is_read_as_go_plugin_reads_it(line: str, expected: Entry) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize("line", ["{" * 100_000, '{"@message":"m","a":' + "[" * 50_000, '{"@message":"\\ud800"}'])
def test_json_made_to_break_a_reader_does_not(line: str) -> None:
    assert parse(line).level is Level.DEBUG


def test_bytes_in_pieces_become_lines_and_long_lines_pieces() -> None:
    splitter = LineSplitter()
    data = b"a\r\n\xff\xfe\n" + b"x" * 150_000 + b"\nend"
    lines = [line for start in range(0, len(data), 7) for line in splitter.feed(data[start : start + 7])]
    lines += splitter.finish()
    assert lines[:2] == ["a", "\N{REPLACEMENT CHARACTER}" * 2]
    assert [len(line) for line in lines[2:-1]] == [65_536, 65_536, 150_000 - 2 * 65_536]
    assert lines[-1] == "end"


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _plugin_log(level: Level = Level.DEBUG) -> tuple[PluginLog, io.StringIO, _Clock, Redactor]:
    stream, clock, redactor = io.StringIO(), _Clock(), Redactor()
    log = Log(level, as_json=True, stream=stream, redactor=redactor)
    return PluginLog(log, plugin="demo", stream="stderr", clock=clock), stream, clock, redactor


def test_entries_reach_our_log_with_the_plugins_name_and_cannot_take_our_fields() -> None:
    plugin_log, stream, _, _ = _plugin_log()
    plugin_log.feed(b'{"@level":"error","@message":"m","level":"x","event":"y","plugin":"z","self":1}\n')
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["plugin"], entry["message"], entry["event"]) == (
        "error",
        "demo",
        "m",
        "plugin output",
    )
    assert (entry["plugin.level"], entry["plugin.event"], entry["plugin.self"]) == ("x", "y", "1")


def test_everything_after_a_panic_is_an_error() -> None:
    plugin_log, stream, _, _ = _plugin_log(Level.ERROR)
    plugin_log.feed(b"quiet\npanic: boom\n\ngoroutine 1 [running]:\n")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "panic: boom",
        "goroutine 1 [running]:",
    ]
    assert plugin_log.last_words() == '"panic: boom"'


def test_a_flood_is_cut_and_counted() -> None:
    plugin_log, stream, clock, _ = _plugin_log()
    plugin_log.feed(b"noise\n" * 5000)
    clock.now = 1.5
    plugin_log.feed(b"after\n")
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(entries) == 1002
    assert (entries[1000]["event"], entries[1000]["lines"]) == ("plugin output suppressed", 4000)
    assert entries[1001]["message"] == "after"


def test_nothing_is_parsed_when_nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_log, stream, _, _ = _plugin_log(Level.OFF)

    def parsed(line: str) -> Entry:
        pytest.fail(f"parsed {line}")

    monkeypatch.setattr("injector.backends.goplugin.hclog.parse", parsed)
    plugin_log.feed(b'{"@level":"error","@message":"m"}\n' * 10)
    assert stream.getvalue() == ""


def test_last_words_are_the_last_lines_that_say_something_cleaned_of_secrets() -> None:
    plugin_log, _, _, redactor = _plugin_log(Level.OFF)
    redactor.add(b"hunter2hunter2")
    plugin_log.feed(b'one\ntwo\nthree\n{"@level":"debug","@message":"plugin address","address":"/x"}\n')
    plugin_log.feed(b"fatal: \x1b[1m no credentials hunter2hunter2")
    plugin_log.finish()
    assert plugin_log.last_words() == '"two / three / fatal: ?[1m no credentials ***"'


def test_a_plugin_that_wrote_nothing_has_no_last_words() -> None:
    assert _plugin_log()[0].last_words() == ""


def test_last_words_are_cut() -> None:
    plugin_log, _, _, _ = _plugin_log(Level.OFF)
    plugin_log.feed(b"x" * 100_000 + b"\n")
    assert len(plugin_log.last_words()) < 500
