"""The directory of compiled modules does not grow without an end, and nothing else in it is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from wasm_modules import lookup, reactor

from injector.backends.wasm import cache_sweep
from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.runtime import Runtime
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from pathlib import Path

THIS, OTHER = "wasmtime-50.0.1-epoch-linux-x86_64", "wasmtime-49.0.0-epoch-linux-x86_64"


def put(directory: Path, number: int, *, days: float, fingerprint: str = THIS, size: int = 10) -> str:
    """A file that was used so many days ago."""
    path = directory / f"{number:064x}-{fingerprint}.cwasm"
    path.write_bytes(b"x" * size)
    aged(path, days)
    return path.name


def aged(path: Path, days: float) -> None:
    then = time.time() - days * cache_sweep.DAY
    os.utime(path, (then, then), follow_symlinks=False)


def left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_another_version_compiled_goes_when_it_was_not_used_for_a_month(tmp_path: Path) -> None:
    kept = {
        put(tmp_path, 1, days=400),  # of this version: it may have been compiled ahead for a day that comes
        put(tmp_path, 2, days=29, fingerprint=OTHER),
    }
    put(tmp_path, 3, days=31, fingerprint=OTHER)
    assert cache_sweep.sweep(tmp_path, THIS) == 1
    assert left(tmp_path) == kept


def test_what_is_too_much_goes_beginning_with_what_was_not_used_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sweep, "MOST_BYTES", 250)
    put(tmp_path, 1, days=9, size=100)
    put(tmp_path, 2, days=8, size=100, fingerprint=OTHER)
    kept = {put(tmp_path, 3, days=7, size=100), put(tmp_path, 4, days=0.5, size=100)}
    assert cache_sweep.sweep(tmp_path, THIS) == 2
    assert left(tmp_path) == kept


def test_what_one_start_needs_stays_however_much_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_sweep, "MOST_BYTES", 10)
    kept = {put(tmp_path, number, days=0, size=100) for number in range(5)}
    assert cache_sweep.sweep(tmp_path, THIS) == 0
    assert left(tmp_path) == kept


def test_nothing_but_compiled_modules_is_touched_and_no_link_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sweep, "MOST_BYTES", 0)
    directory, outside = tmp_path / "cache", tmp_path / "outside"
    directory.mkdir()
    outside.mkdir()
    victim = outside / put(outside, 1, days=400, fingerprint=OTHER)
    link = directory / f"{2:064x}-{OTHER}.cwasm"
    link.symlink_to(victim)
    folder = directory / f"{3:064x}-{OTHER}.cwasm"
    folder.mkdir()
    inner = folder / put(folder, 4, days=400, fingerprint=OTHER)
    (directory / "sub").symlink_to(outside)
    for name in ("notes.txt", f"{5:064x}.cwasm", ".hidden"):
        (directory / name).write_text("x")
    for path in directory.iterdir():
        aged(path, 400)
    before = left(directory)
    put(directory, 6, days=400, fingerprint=OTHER)
    assert cache_sweep.sweep(directory, THIS) == 1
    assert left(directory) == before
    assert victim.exists()
    assert inner.exists()


def test_what_a_killed_writer_left_goes_after_a_day(tmp_path: Path) -> None:
    for name, days in ((".abcd1234.cwasm", 2.0), (".wxyz_678.cwasm", 0.1)):
        (tmp_path / name).write_bytes(b"x")
        aged(tmp_path / name, days)
    cache_sweep.sweep(tmp_path, THIS)
    assert left(tmp_path) == {".wxyz_678.cwasm"}


def test_a_directory_that_is_not_there_or_may_not_be_written_is_no_error(tmp_path: Path) -> None:
    assert cache_sweep.sweep(tmp_path / "none", THIS) == 0
    assert cache_sweep.sweep(tmp_path / "none" / "deeper", THIS) == 0
    if os.geteuid() != 0:
        put(tmp_path, 1, days=400, fingerprint=OTHER)
        tmp_path.chmod(0o500)
        assert cache_sweep.sweep(tmp_path, THIS) == 0
        tmp_path.chmod(0o700)


def test_a_module_that_is_loaded_counts_as_used_and_a_compilation_sweeps(tmp_path: Path) -> None:
    wasm = reactor()

    def get(module: bytes) -> None:
        CompiledModules(Runtime(), tmp_path, Log(Level.OFF)).get(module, "plugin demo")

    get(wasm)
    (file,) = tmp_path.iterdir()
    aged(file, 400)
    get(wasm)
    assert time.time() - file.stat().st_mtime < cache_sweep.DAY
    put(tmp_path, 1, days=31, fingerprint=OTHER)
    get(wasm)  # which is loaded: nothing is written, and nothing removed
    assert len(left(tmp_path)) == 2
    get(lookup({"a": "1"}))
    assert len(left(tmp_path)) == 2
    assert not any(name.endswith(f"{OTHER}.cwasm") for name in left(tmp_path))


WORKER = """
import sys
from pathlib import Path
from injector.backends.wasm import cache_sweep
from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.runtime import Runtime
from injector.telemetry.logs import Level, Log
cache_sweep.MOST_BYTES, cache_sweep.RECENT = 0, -1.0  # whatever is there is too much
modules = [Path(name).read_bytes() for name in sys.argv[2:]]
for _ in range(8):
    for wasm in modules:
        module = CompiledModules(Runtime(), Path(sys.argv[1]), Log(Level.WARNING)).get(wasm, "plugin demo")
        assert "strategy_token_value" in {export.name for export in module.exports}
"""


def test_processes_that_compile_load_and_remove_the_same_files_do_not_disturb_each_other(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        names.append(tmp_path / f"{number}.wasm")
        names[-1].write_bytes(lookup({"a": str(number)}))
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cache"), *map(str, names)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    for worker in workers:
        printed, _ = worker.communicate(timeout=110)
        assert worker.returncode == 0, printed
        assert "Traceback" not in printed
    assert not any(name.startswith(".") for name in left(tmp_path / "cache"))
