"""Spawn to handshake line of what `injector plugin build` makes, in the forms that it could have."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from injector.sdk.building.build import build
from injector.sdk.testing.process import host_environment

RUNS = 40
SOURCE = """
from injector.sdk import LookupStore, serve

class Echo(LookupStore):
    def look_up(self, reference):
        return reference.path

serve(Echo(), name="echo")
"""


def variant(plugin: Path, target: Path, *, bytecode: bool, compression: int) -> Path:
    """The same plugin in another form."""
    with zipfile.ZipFile(plugin) as source, target.open("wb") as file:
        file.write(f"#!{sys.executable}\n".encode())
        with zipfile.ZipFile(file, "a", compression) as archive:
            for name in source.namelist():
                if bytecode or not name.endswith(".pyc"):
                    archive.writestr(name, source.read(name))
    target.chmod(0o755)
    return target


def start(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Milliseconds until the first line, and those of processor time until its end, which comes at once."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    taken = time.perf_counter() - begin
    process.terminate()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if not line.startswith(b"1|"):
        raise SystemExit(f"{command} sent no handshake but {line!r}")
    return taken * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        source = Path(folder, "echo.py")
        source.write_text(SOURCE)
        built = build(source, output=Path(folder, "built"), python=sys.executable).path
        stored = variant(built, Path(folder, "stored"), bytecode=True, compression=zipfile.ZIP_STORED)
        sources = variant(built, Path(folder, "sources"), bytecode=False, compression=zipfile.ZIP_DEFLATED)
        cases = {
            "installed, python echo.py": [sys.executable, str(source)],
            "built (bytecode, compressed)": [str(built)],
            "bytecode, not compressed": [str(stored)],
            "sources only, compressed": [str(sources)],
        }
        environment = host_environment(os.environ, versions=(1,), socket_base=folder, extra={})
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(RUNS):
            for name, command in cases.items():
                times[name].append(start(command, environment))
        print(
            f"{'spawn to handshake':32} {'best ms':>8} {'median':>8} {'cpu ms':>8} {'KiB':>6}   ({RUNS} starts in turn)"
        )
        for name, taken in times.items():
            size = Path(cases[name][-1]).stat().st_size / 1024
            wall, cpu = zip(*taken, strict=True)
            print(
                f"{name:32} {min(wall):8.1f} {statistics.median(wall):8.1f} {statistics.median(cpu):8.1f} {size:6.0f}"
            )


if __name__ == "__main__":
    main()
