"""`python -m benchmarks [NAME …]`; the names are those of `ALL`."""

from __future__ import annotations

import runpy
import sys

ALL = ("scanner", "startup", "render", "goplugin", "parameters", "integrity", "plugin_file", "wasm")

if __name__ == "__main__":
    chosen = sys.argv[1:] or ALL
    sys.argv = sys.argv[:1]
    for name in chosen:
        if name not in ALL:
            raise SystemExit(f"no benchmark {name}; there are {', '.join(ALL)}")
        print(f"\n== {name}", flush=True)
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
