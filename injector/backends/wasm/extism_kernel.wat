;; The memory of the Extism plugin ABI ("extism:host/env"), written from the ABI: a guest and its host exchange bytes
;; through blocks of this module's own memory, by 64-bit handles. One instance of it stands beside every guest; loads
;; and stores run from WASM to WASM. A guest can spoil its contents and nothing else: the host checks every handle.
;; A block: 16 bytes of header (u32 magic, u32 unused, u64 length), then the data. 0 is no handle.
(module
  (memory (export "memory") 1)
  (global $pos (mut i64) (i64.const 64))    ;; next free byte
  (global $in (mut i64) (i64.const 0))
  (global $in_len (mut i64) (i64.const 0))
  (global $out (mut i64) (i64.const 0))
  (global $out_len (mut i64) (i64.const 0))
  (global $err (mut i64) (i64.const 0))

  (func $alloc (export "alloc") (param $n i64) (result i64)
    (local $at i64) (local $end i64) (local $pages i64)
    (if (i64.eqz (local.get $n)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $n) (i64.const 0xffff0000)) (then (return (i64.const 0))))
    (local.set $at (global.get $pos))
    ;; end = at + 16 + n, rounded up to 16
    (local.set $end (i64.and
      (i64.add (i64.add (local.get $at) (local.get $n)) (i64.const 31))
      (i64.const -16)))
    (local.set $pages (i64.sub
      (i64.shr_u (i64.add (local.get $end) (i64.const 65535)) (i64.const 16))
      (i64.extend_i32_u (memory.size))))
    (if (i64.gt_s (local.get $pages) (i64.const 0)) (then
      (if (i32.eq (memory.grow (i32.wrap_i64 (local.get $pages))) (i32.const -1))
        (then (return (i64.const 0))))))
    (global.set $pos (local.get $end))
    (i32.store (i32.wrap_i64 (local.get $at)) (i32.const 0x5e7a11ed))
    (i64.store offset=8 (i32.wrap_i64 (local.get $at)) (local.get $n))
    (i64.add (local.get $at) (i64.const 16)))

  (func $header (param $p i64) (result i32) ;; address of a live block's header, or 0
    (local $h i32)
    (if (i64.lt_u (local.get $p) (i64.const 80)) (then (return (i32.const 0))))
    (if (i64.ge_u (local.get $p) (global.get $pos)) (then (return (i32.const 0))))
    (if (i32.and (i32.wrap_i64 (local.get $p)) (i32.const 15)) (then (return (i32.const 0))))
    (local.set $h (i32.sub (i32.wrap_i64 (local.get $p)) (i32.const 16)))
    (if (i32.ne (i32.load (local.get $h)) (i32.const 0x5e7a11ed)) (then (return (i32.const 0))))
    (local.get $h))

  (func $length (export "length") (param $p i64) (result i64)
    (local $h i32)
    (local.set $h (call $header (local.get $p)))
    (if (i32.eqz (local.get $h)) (then (return (i64.const 0))))
    (i64.load offset=8 (local.get $h)))
  (func (export "length_unsafe") (param $p i64) (result i64) (call $length (local.get $p)))

  (func (export "free") (param $p i64)
    (local $h i32) (local $end i64)
    (local.set $h (call $header (local.get $p)))
    (if (i32.eqz (local.get $h)) (then (return)))
    (if (i64.eq (local.get $p) (global.get $in)) (then (global.set $in_len (i64.const 0))))
    (local.set $end (i64.and
      (i64.add (i64.add (local.get $p) (i64.load offset=8 (local.get $h))) (i64.const 15))
      (i64.const -16)))
    (i32.store (local.get $h) (i32.const 0))
    (if (i64.eq (local.get $end) (global.get $pos))       ;; the newest block: take it back
      (then (global.set $pos (i64.sub (local.get $p) (i64.const 16))))))

  (func (export "load_u8") (param $p i64) (result i32)
    (i32.load8_u (i32.wrap_i64 (local.get $p))))
  (func (export "load_u64") (param $p i64) (result i64)
    (i64.load (i32.wrap_i64 (local.get $p))))
  (func (export "store_u8") (param $p i64) (param $v i32)
    (i32.store8 (i32.wrap_i64 (local.get $p)) (local.get $v)))
  (func (export "store_u64") (param $p i64) (param $v i64)
    (i64.store (i32.wrap_i64 (local.get $p)) (local.get $v)))

  (func (export "input_set") (param $p i64) (param $n i64)
    (global.set $in (local.get $p)) (global.set $in_len (local.get $n)))
  (func (export "input_offset") (result i64) (global.get $in))
  (func (export "input_length") (result i64) (global.get $in_len))
  (func (export "input_load_u8") (param $o i64) (result i32)
    (if (i64.ge_u (local.get $o) (global.get $in_len)) (then (return (i32.const 0))))
    (i32.load8_u (i32.wrap_i64 (i64.add (global.get $in) (local.get $o)))))
  (func (export "input_load_u64") (param $o i64) (result i64)
    (if (i64.gt_u (i64.add (local.get $o) (i64.const 8)) (global.get $in_len)) (then (return (i64.const 0))))
    (i64.load (i32.wrap_i64 (i64.add (global.get $in) (local.get $o)))))

  (func (export "output_set") (param $p i64) (param $n i64)
    (global.set $out (local.get $p)) (global.set $out_len (local.get $n)))
  (func (export "output_offset") (result i64) (global.get $out))
  (func (export "output_length") (result i64) (global.get $out_len))
  (func (export "error_set") (param $p i64) (global.set $err (local.get $p)))
  (func (export "error_get") (result i64) (global.get $err))
  (func (export "memory_bytes") (result i64)
    (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))

  (func (export "reset") ;; forget, and wipe, every block
    (memory.fill (i32.const 64) (i32.const 0)
      (i32.wrap_i64 (i64.sub (global.get $pos) (i64.const 64))))
    (global.set $pos (i64.const 64))
    (global.set $in (i64.const 0)) (global.set $in_len (i64.const 0))
    (global.set $out (i64.const 0)) (global.set $out_len (i64.const 0))
    (global.set $err (i64.const 0)))
)
