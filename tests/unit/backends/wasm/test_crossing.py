"""Calls into a module go as its types say, whatever the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from wasm_modules import compiled

from injector.backends.wasm.crossing import Exports, signature, signatures
from injector.backends.wasm.exports import exported_types

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = compiled("""(module (memory (export "memory") 1)
  (func (export "same32") (param i32) (result i32) (local.get 0))
  (func (export "same64") (param i64) (result i64) (local.get 0))
  (func (export "second") (param i32 i64 i32) (result i64) (local.get 1))
  (func (export "nothing"))
  (func (export "float") (param f64) (result f64) (local.get 0))
  (func (export "two") (result i32 i32) (i32.const 1) (i32.const 2))
  (func (export "trap") (unreachable)))""")


@pytest.fixture(scope="module")
def exports() -> Iterator[Exports]:
    engine = wasmtime.Engine()
    module = wasmtime.Module(engine, MODULE)
    with wasmtime.Store(engine) as store:
        yield Exports(store, wasmtime.Instance(store, module, []), signatures(exported_types(module)))


@settings(deadline=None)
@given(number=st.integers(-(2**31), 2**32 - 1), wide=st.integers(-(2**63), 2**63 - 1))
def test_every_integer_arrives_and_comes_back_signed(exports: Exports, number: int, wide: int) -> None:
    signed = number - 2**32 if number >= 2**31 else number
    assert exports.call("same32", number) == signed
    assert exports.call("same64", wide) == wide
    assert exports.call("second", number, wide, number) == wide
    assert exports.call("nothing") is None


@pytest.mark.parametrize("arguments", [(), (1, 2)])
def test_another_number_of_arguments_is_an_error(exports: Exports, arguments: tuple[int, ...]) -> None:
    with pytest.raises(wasmtime.WasmtimeError):
        exports.call("same32", *arguments)


def test_a_trap_is_a_trap_and_a_function_of_other_types_is_none(exports: Exports) -> None:
    with pytest.raises(wasmtime.Trap):
        exports.call("trap")
    assert not any(exports.has_function(name) for name in ("float", "two", "memory", "missing"))
    assert exports.has_function("same64")


@settings(deadline=None)
@given(start=st.integers(0, 65536 - 300), data=st.binary(max_size=300))
def test_what_is_written_is_read(exports: Exports, start: int, data: bytes) -> None:
    assert exports.memory is not None
    assert exports.memory.size() == 65536
    exports.memory.write(start, data)
    assert exports.memory.read(start, len(data)) == data


def test_nothing_is_touched_of_a_store_that_is_closed() -> None:
    engine = wasmtime.Engine()
    store, module = wasmtime.Store(engine), wasmtime.Module(engine, MODULE)
    exports = Exports(store, wasmtime.Instance(store, module, []), signatures(exported_types(module)))
    exports.call("nothing")
    memory = exports.memory
    store.close()
    assert memory is not None
    for use in (lambda: exports.call("nothing"), memory.size, lambda: memory.read(0, 1), lambda: memory.write(0, b"x")):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.parametrize("text", ["memory", "other", "(f32) -> ()", "() -> (i32, i32)", "(externref) -> (i32)", ""])
def test_what_is_no_function_of_integers_has_no_signature(text: str) -> None:
    assert signature(text) is None
