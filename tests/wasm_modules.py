"""WASM modules for tests, from their text form: no toolchain is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WASI = "wasi_snapshot_preview1"
BUMP = """
  (func (export "allocate") (param $n i32) (result i32)
    (local $p i32)
    (local.set $p (global.get $top))
    (global.set $top (i32.and (i32.add (i32.add (local.get $p) (local.get $n)) (i32.const 7)) (i32.const -8)))
    (block $fits (loop $grow
      (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 0))))
      (br $grow)))
    (local.get $p))"""
GIVE = """
  (func $give (param $source i32) (param $n i32) (param $out i32) (param $cap i32) (param $lenp i32) (result i32)
    (i32.store (local.get $lenp) (local.get $n))
    (if (i32.gt_u (local.get $n) (local.get $cap)) (then (return (i32.const -1))))
    (memory.copy (local.get $out) (local.get $source) (local.get $n))
    (i32.const 0))"""
ECHO = "(return (call $give (local.get $in) (local.get $n) (local.get $out) (local.get $cap) (local.get $lenp)))"


def compiled(text: str) -> bytes:
    """The binary form of a module's text."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def reactor(
    strategy: str = ECHO,
    *,
    allocate: str = BUMP,
    imports: str = "",
    extra: str = "",
    initialize: str = "",
    memory: str = '(memory (export "memory") 2)',
) -> bytes:
    """
    A reactor plugin. *strategy* is the body of `strategy_token_value`, with the parameters $in $n $out $cap $lenp and
    the local $i; memory below 4096 is free for it. *extra* holds further functions, data and globals.
    """
    return compiled(f"""(module
  {imports}
  {memory}
  (global $top (mut i32) (i32.const 4096))
  (func (export "_initialize") {initialize})
  {allocate}
  {GIVE}
  {extra}
  (func (export "strategy_token_value")
    (param $in i32) (param $n i32) (param $out i32) (param $cap i32) (param $lenp i32) (result i32)
    (local $i i32)
    {strategy}
    (unreachable))
)""")


def data(offset: int, content: bytes) -> str:
    """A data segment."""
    text = "".join(rf"\{byte:02x}" for byte in content)
    return f'(data (i32.const {offset}) "{text}")'


def lookup(known: Mapping[str, str]) -> bytes:
    """
    A store that knows exactly *known*, by path, and says `not_found` for others.

    It compares the whole message that it gets with those that a host sends for the known paths.
    """
    offset, segments, branches = 65536, [], []
    for path, value in known.items():
        message = json.dumps({"token": path, "version": ""}, ensure_ascii=False).encode()
        content = value.encode()
        segments += [data(offset, message), data(offset + len(message), content)]
        branches.append(f"""
    (if (call $same (i32.const {offset}) (i32.const {len(message)}) (local.get $in) (local.get $n)) (then
      (return (call $give (i32.const {offset + len(message)}) (i32.const {len(content)})
        (local.get $out) (local.get $cap) (local.get $lenp)))))""")
        offset += len(message) + len(content)
    pages = offset // 65536 + 1
    said = b"not_found: there is no "
    same = """
  (func $same (param $a i32) (param $n i32) (param $b i32) (param $m i32) (result i32)
    (if (i32.ne (local.get $n) (local.get $m)) (then (return (i32.const 0))))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $n)))
      (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))) (then (return (i32.const 0))))
      (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $next)))
    (i32.const 1))"""
    # last_error gives the fixed text and then the message's token: from `{"token": "` to the quote that follows.
    last_error = f"""
  (global $asked (mut i32) (i32.const 0))
  (global $length (mut i32) (i32.const 0))
  (func (export "last_error") (param $to i32) (param $cap i32) (result i32)
    (local $i i32)
    (memory.copy (local.get $to) (i32.const 8) (i32.const {len(said)}))
    (local.set $i (i32.const 11))
    (block $end (loop $next
      (br_if $end (i32.ge_u (local.get $i) (global.get $length)))
      (br_if $end (i32.eq (i32.load8_u (i32.add (global.get $asked) (local.get $i))) (i32.const 34)))
      (i32.store8 (i32.add (local.get $to) (i32.add (i32.const {len(said) - 11}) (local.get $i)))
        (i32.load8_u (i32.add (global.get $asked) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (i32.add (i32.const {len(said) - 11}) (local.get $i)))"""
    return reactor(
        f"""
    (global.set $asked (local.get $in))
    (global.set $length (local.get $n))
    {"".join(branches)}
    (return (i32.const -7))""",
        extra="\n".join([same, last_error, data(8, said), *segments]),
        initialize=f"(global.set $top (i32.const {pages * 65536}))",
        memory=f'(memory (export "memory") {pages + 1})',
    )
