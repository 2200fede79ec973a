"""
Start-up: what a call of the command costs before it does anything, beside the bare interpreter in the same run.

Module counts are exact and repeatable; times are medians of interleaved runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import MIB, median, run

RUNS = 11
INJECTOR = Path(sys.executable).with_name("injector")


def modules(code: str) -> int:
    """How many modules a fresh interpreter has after *code*."""
    script = f"{code}\nimport sys; print(len(sys.modules), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.write_text("home=ENV://HOME\n")
        cases = {
            "python -c pass (floor)": [sys.executable, "-c", "pass"],
            "import injector.cli.main": [sys.executable, "-P", "-c", "import injector.cli.main"],
            "injector version": [INJECTOR, "version"],
            "injector --help": [INJECTOR, "--help"],
            "injector plugin list": [INJECTOR, "plugin", "list"],
            "injector render (one ENV token)": [INJECTOR, "render", template],
        }
        runs: dict[str, list] = {name: [] for name in cases}
        for command in cases.values():
            run(command)  # compiles
        for _ in range(RUNS):
            for name, command in cases.items():
                runs[name].append(run(command))
        floor = median(runs["python -c pass (floor)"])
        print(f"{'':34} {'wall ms':>8} {'ratio':>6} {'cpu ms':>8} {'ratio':>6} {'peak MiB':>9}   (median of {RUNS})")
        for name in cases:
            one = median(runs[name])
            print(
                f"{name:34} {one.wall * 1e3:8.1f} {one.wall / floor.wall:6.2f} {one.cpu * 1e3:8.1f} "
                f"{one.cpu / floor.cpu:6.2f} {one.peak / MIB:9.1f}"
            )
    print("\nmodules loaded:")
    for name, code in {
        "bare interpreter": "pass",
        "import injector.cli.main": "import injector.cli.main",
        "injector version": "from injector.cli.main import main; main(['version'])",
        "import injector.sdk": "import injector.sdk",
    }.items():
        print(f"  {name:28} {modules(code):5}")


if __name__ == "__main__":
    main()
