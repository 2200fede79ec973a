"""
`injector render` through the Go plugin of examples/, cold, beside a Go host that makes the same calls.

The Go host (tests/integration/gohost) starts the same plugin, asks for the same references, 64 at a time, and ends
it: what a host in Go needs for the plugin part of the work. It reads no template and writes no file. CPU has the
plugin's in it on both sides.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import MIB, go_toolchain, median, run

ROOT = Path(__file__).resolve().parent.parent
INJECTOR = Path(sys.executable).with_name("injector")
SIZES = {1: 11, 100: 7, 1_000: 5, 10_000: 3}  # tokens: runs


def build(go: str, module: Path, package: str, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, "build", "-o", binary, package], cwd=module, check=True, env=os.environ | {"CGO_ENABLED": "0"})


def go_arch() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def main() -> None:
    go = go_toolchain()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        plugin = work / "plugins" / "demostore" / f"demostore-linux-{go_arch()}"
        build(go, ROOT / "examples" / "plugins" / "go", "./cmd/demostore", plugin)
        build(go, ROOT / "tests" / "integration" / "gohost", ".", work / "gohost")
        print(f"{'':8} {'':>5} {'injector render':^41}   {'Go host':^17}   {'ratio':^11}")
        print(
            f"{'tokens':>8} {'runs':>5} {'wall ms':>9} {'cpu ms':>8} {'host MiB':>9} {'plugin MiB':>11}   "
            f"{'wall ms':>8} {'cpu ms':>8}   {'wall':>5} {'cpu':>5}"
        )
        for tokens, runs in SIZES.items():
            template = work / "template"
            template.write_text("".join(f"key{n}: DEMOSTORE:///app/value/{n}\n" for n in range(tokens)))
            ours = [INJECTOR, "render", "-q", template, "-o", work / "out", "--plugin-path", work / "plugins"]
            concurrency = min(64, tokens)
            theirs = [
                work / "gohost", "-token", "/app/value/{i}", "-n", str(tokens), "-c", str(concurrency), plugin,
            ]  # fmt: skip
            host_runs, go_runs = [], []
            run(ours, cwd=work)  # compiles
            for _ in range(runs):
                (work / "out").unlink(missing_ok=True)
                host_runs.append(run(ours, cwd=work))
                go_runs.append(run(theirs, cwd=work))
            if (work / "out").read_text().count("demo value of /app/value/") != tokens:
                raise SystemExit("the render is wrong")
            host, peer = median(host_runs), median(go_runs)
            print(
                f"{tokens:8} {runs:5} {host.wall * 1e3:9.0f} {host.cpu * 1e3:8.0f} {host.peak / MIB:9.1f} "
                f"{host.child_peak / MIB:11.1f}   {peer.wall * 1e3:8.0f} {peer.cpu * 1e3:8.0f}   "
                f"{host.wall / peer.wall:5.1f} {host.cpu / peer.cpu:5.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
