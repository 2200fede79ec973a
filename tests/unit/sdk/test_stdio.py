"""Printed output on its way to the host."""

from __future__ import annotations

import threading

import pytest
from waiting import PATIENCE

from injector.sdk.stdio import STDERR, STDOUT, Output


def always() -> bool:
    return True


def test_output_comes_in_order_and_once():
    output = Output()
    output.add(STDOUT, b"a")
    output.add(STDERR, b"b")
    output.close()
    assert list(output.read(always)) == [(STDOUT, b"a"), (STDERR, b"b")]
    assert list(output.read(always)) == []


@pytest.mark.parametrize("pieces", [10, 1000])
def test_the_oldest_is_dropped_when_there_is_too_much(pieces):
    output = Output(capacity=100)
    for number in range(pieces):
        output.add(STDOUT, b"%010d" % number)
    output.close()
    kept = [data for _, data in output.read(always)]
    assert kept == [b"%010d" % number for number in range(pieces - 10, pieces)]


def test_a_waiting_reader_gets_what_comes_and_ends_at_the_close():
    output = Output()
    got: list[tuple[int, bytes]] = []
    first = threading.Event()

    def read() -> None:
        for piece in output.read(always):
            got.append(piece)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    output.add(STDOUT, b"x")
    assert first.wait(PATIENCE)
    output.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert got == [(STDOUT, b"x")]


def test_a_reader_that_is_no_longer_wanted_ends_and_takes_nothing():
    output = Output()
    wanted = [True]
    reader = threading.Thread(target=lambda: list(output.read(lambda: wanted[0])))
    reader.start()
    wanted[0] = False
    output.wake()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    output.add(STDOUT, b"x")
    assert next(output.read(always)) == (STDOUT, b"x")


def test_a_new_reader_ends_the_old_one():
    output = Output()
    old = output.read(always)
    output.add(STDOUT, b"one")
    assert next(old) == (STDOUT, b"one")
    new = output.read(always)
    output.add(STDOUT, b"two")
    assert next(new) == (STDOUT, b"two")
    output.add(STDOUT, b"three")
    assert list(old) == []
    assert next(new) == (STDOUT, b"three")
