"""
Plugins that are WebAssembly modules, run inside this process by wasmtime.

`runtime` has the engine, `cache` its compiled modules, `instance` one fresh instance with its limits, `wasi` what a
guest may ask of the system; `flavour` is what the two kinds of modules have in common, `reactor` one of them; `host` is
the backend. wasmtime is imported in this package only, and late.
"""
