module injector.example/wasm-reactor

go 1.24
