"""The memory between an Extism guest and the host: what a hostile guest can say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.backends.wasm.extism_kernel import Kernel, kernel_module
from injector.backends.wasm.runtime import Runtime
from injector.errors import PluginAnswerInvalid, PluginGuestFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 1 << 20


class Guest:
    """The functions that a guest imports, called as it would."""

    def __init__(self, memory: int = 4 << 20) -> None:
        runtime = Runtime()  # its epochs stand still: nothing is called under a deadline here
        self.store = wasmtime.Store(runtime.engine)
        self.store.set_epoch_deadline(1 << 40)
        self.store.set_limits(memory_size=memory)
        self.kernel = Kernel(self.store, kernel_module(runtime), "plugin demo")

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.kernel._exports.call(name, *arguments)


@pytest.fixture
def guest() -> Iterator[Guest]:
    guest = Guest()
    yield guest
    guest.store.close()


@settings(deadline=None)
@given(blocks=st.lists(st.binary(max_size=5000), max_size=20), freed=st.sets(st.integers(0, 19)))
def test_what_is_put_is_read_until_it_is_freed(blocks: list[bytes], freed: set[int]) -> None:
    guest = Guest()
    handles = [guest.kernel.put(block) for block in blocks]
    for place in sorted(freed, reverse=True):
        if place < len(handles):
            guest.kernel.free(handles[place])
    for place, (handle, block) in enumerate(zip(handles, blocks, strict=True)):
        if place not in freed:
            assert guest.kernel.read(handle, most=MOST) == block
        else:
            assert guest.length(handle) == 0
    guest.store.close()


@settings(deadline=None)
@given(handle=st.integers(-(2**63), 2**63 - 1), length=st.integers(-(2**63), 2**63 - 1))
def test_an_output_that_is_not_there_is_refused(handle: int, length: int) -> None:
    guest = Guest()
    guest.output_set(handle, length)
    size = guest.memory_bytes()
    inside = 0 <= handle <= size and 0 <= length <= min(MOST, size - handle)
    if inside or length == 0:
        assert len(guest.kernel.output(most=MOST)) == length
    else:
        with pytest.raises(PluginAnswerInvalid):
            guest.kernel.output(most=MOST)
    guest.store.close()


def test_a_block_whose_length_a_guest_has_overwritten_is_bounded(guest: Guest) -> None:
    handle = guest.kernel.put(b"x" * 64)
    guest.store_u64(handle - 8, 2**62)
    with pytest.raises(PluginAnswerInvalid):
        guest.kernel.read(handle, most=MOST)
    guest.store_u64(handle - 8, MOST)  # within what may be read, and outside of the memory
    with pytest.raises(PluginAnswerInvalid, match="outside of its memory"):
        guest.kernel.read(handle, most=MOST)
    guest.error_set(handle)
    with pytest.raises(PluginAnswerInvalid):
        guest.kernel.error(most=MOST)


def test_an_error_text_is_cut(guest: Guest) -> None:
    guest.error_set(guest.kernel.put(b"x" * 5000))
    assert guest.kernel.error(most=2000) == b"x" * 2000


@pytest.mark.parametrize("handle", [0, 1, 15, 64, 79, 80 + 1, -1, 2**62, -(2**63)])
def test_what_is_no_block_is_empty(guest: Guest, handle: int) -> None:
    guest.kernel.put(b"abc")
    if handle != 80:
        assert guest.kernel.read(handle, most=MOST) == b""
    guest.kernel.free(handle)


def fill(guest: Guest) -> None:
    for _ in range(100):
        guest.kernel.put(b"x" * 100_000)


def test_there_is_an_end_to_memory(guest: Guest) -> None:
    with pytest.raises(PluginGuestFailed, match="no room"):
        fill(guest)
    assert guest.alloc(2**40) == 0
    assert guest.alloc(-1) == 0


def test_a_new_call_finds_nothing_of_the_last(guest: Guest) -> None:
    secret = guest.kernel.put(b"the last call's secret")
    guest.output_set(secret, 22)
    guest.error_set(secret)
    guest.kernel.begin(b"input")
    assert guest.kernel.output(most=MOST) == b""
    assert guest.kernel.error(most=MOST) is None
    raw = guest.kernel._memory.read(0, guest.kernel._memory.size())
    assert b"secret" not in raw
    assert bytes(raw).count(b"input") == 1
    assert guest.input_length() == 5
    assert guest.input_load_u8(4) == ord("t")
    assert guest.input_load_u8(5) == 0
    assert guest.input_load_u64(0) == 0  # there are no eight bytes
