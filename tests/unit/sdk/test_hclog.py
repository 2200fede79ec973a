"""Log lines as go-plugin hosts read them."""

from __future__ import annotations

import json
import os
import re

import pytest

from injector.sdk.hclog import Logger, exception_fields


@pytest.fixture
def lines():
    """A logger on a pipe, and a function that reads what it wrote."""
    read, write = os.pipe()
    yield Logger("demo", fd=write), lambda: [json.loads(line) for line in os.read(read, 1 << 16).splitlines()]
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error"])
def test_each_level_is_a_line_of_json(lines, level):
    log, written = lines
    getattr(log, level)("größe", count=3, ratio=0.5, flag=True, nothing=None, thing=["x"])
    (line,) = written()
    assert (line["@level"], line["@message"], line["@module"]) == (level, "größe", "demo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["@timestamp"])
    assert (line["count"], line["ratio"], line["flag"], line["nothing"], line["thing"]) == (3, 0.5, True, None, "['x']")


def test_a_message_of_several_lines_stays_one_line(lines):
    log, written = lines
    log.info("a\nb", text="c\nd")
    assert len(written()) == 1


def test_a_long_field_is_cut_so_that_the_line_stays_json_for_the_host(lines):
    log, written = lines
    log.info("m", text="é" * 100_000)
    assert len(written()[0]["text"]) < 5000


def test_a_host_that_is_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    Logger("demo", fd=write).info("nobody reads this")
    os.close(write)


def test_of_an_exception_type_place_and_cause_are_told_and_no_text():
    def inner(password):
        raise KeyError(password)

    def outer():
        try:
            inner("hunter2")
        except KeyError as error:
            raise ValueError("hunter2") from error

    with pytest.raises(ValueError, match="hunter2") as caught:
        outer()
    fields = exception_fields(caught.value)
    assert fields["type"] == "builtins.ValueError"
    assert fields["cause"] == "KeyError"
    assert re.match(r".*test_hclog\.py:\d+ in outer < ", str(fields["frames"]))
    assert "hunter2" not in json.dumps(fields)
