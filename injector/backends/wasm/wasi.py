"""
The functions of WASI preview 1 that are ours instead of wasmtime's.

`fd_write`: what a guest prints is capped, and goes to the log. (wasmtime's own way calls back on threads that panic at
the interpreter's end.) `poll_oneoff`: a guest that sleeps wakes up when its time is over or its call was cancelled;
epochs do not reach it there. All else that WASI has is wasmtime's, and knows no files, no environment and no network.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

from injector.backends.wasm.host_function import HostFunction

if TYPE_CHECKING:
    from injector.backends.wasm.instance import Instance

MODULE: Final = "wasi_snapshot_preview1"
_SUCCESS, _BAD_DESCRIPTOR, _FAULT, _IO, _NOT_SUPPORTED = 0, 8, 21, 29, 58
_MOST_PARTS = 1024
_MOST_SUBSCRIPTIONS = 64
_CLOCK = 0
_MONOTONIC = 1
_ABSOLUTE = 1
_NAP = 0.05  # seconds: how soon a sleeping guest notices that its call was cancelled


def _fd_write(instance: Instance, descriptor: int, parts: int, count: int, written: int) -> int:
    if descriptor not in (1, 2) or not instance.has_memory:
        return _BAD_DESCRIPTOR
    if not 0 <= count <= _MOST_PARTS:
        return _FAULT
    total = 0
    for pointer, length in struct.iter_unpack("<II", instance.read(parts, 8 * count)):
        instance.printed(instance.read(pointer, min(length, instance.room_to_print)), length)
        total += length
    instance.write(written, struct.pack("<I", total & 0xFFFFFFFF))
    return _SUCCESS


def _poll_oneoff(instance: Instance, subscriptions: int, events: int, count: int, happened: int) -> int:
    if not 0 < count <= _MOST_SUBSCRIPTIONS or not instance.has_memory:
        return _FAULT
    clocks: list[tuple[float, int]] = []
    others: list[tuple[int, int]] = []
    records = instance.read(subscriptions, 48 * count)
    for start in range(0, len(records), 48):
        user, kind = struct.unpack_from("<QB", records, start)
        if kind == _CLOCK:
            clocks.append((_seconds(records, start + 16), user))
        else:
            others.append((user, kind))
    # A guest has no descriptor that could become ready.
    ready = [struct.pack("<QHBxxxxxQHxxxxxx", user, _NOT_SUPPORTED, kind, 0, 0) for user, kind in others]
    if not ready:
        soonest = min(seconds for seconds, _ in clocks)
        _sleep(instance, soonest)
        ready = [
            struct.pack("<QHBxxxxxQHxxxxxx", user, _SUCCESS, _CLOCK, 0, 0)
            for seconds, user in clocks
            if seconds <= soonest
        ]
    instance.write(events, b"".join(ready))
    instance.write(happened, struct.pack("<I", len(ready)))
    return _SUCCESS


def _seconds(records: bytes, start: int) -> float:
    clock, timeout, _, flags = struct.unpack_from("<IxxxxQQH", records, start)
    if flags & _ABSOLUTE:
        timeout = max(0, timeout - (time.monotonic_ns() if clock == _MONOTONIC else time.time_ns()))
    return timeout / 1e9  # type: ignore[no-any-return]


def _sleep(instance: Instance, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        instance.check()
        time.sleep(min(left, _NAP, max(0.001, instance.deadline.left())))


FUNCTIONS: Final = (
    HostFunction(MODULE, "fd_write", ("i32", "i32", "i32", "i32"), "i32", _fd_write, failed=_IO),
    HostFunction(MODULE, "poll_oneoff", ("i32", "i32", "i32", "i32"), "i32", _poll_oneoff, failed=_IO),
)
