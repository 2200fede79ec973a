"""Compiled modules: made once, kept where nobody else can write, and made anew when they do not fit."""

from __future__ import annotations

import io
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from wasm_modules import lookup, reactor

from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.runtime import Runtime
from injector.errors import OutputError, PluginRefused
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from pathlib import Path


class CountingRuntime(Runtime):
    """A runtime of its own, as in a new process, which counts what it compiles."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = 0

    def compile(self, wasm: bytes, name: str) -> Any:
        self.compiled += 1
        return super().compile(wasm, name)


def compilations(directory: Path | None, wasm: bytes, log: Log | None = None) -> int:
    """How often a new process compiles for two requests of one module."""
    runtime = CountingRuntime()
    for _ in range(2):
        CompiledModules(runtime, directory, log or Log(Level.OFF)).get(wasm, "plugin demo")
    return runtime.compiled


@pytest.mark.seed("000:18", "000:21", "000:26", "000:123")
def test_a_module_is_compiled_once_for_all_processes(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "cache"
    wasm = reactor()
    assert [compilations(directory, wasm) for _ in range(3)] == [1, 0, 0]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(list(directory.iterdir())) == 1


@pytest.mark.seed("000:20")
def test_another_module_is_another_file(tmp_path: Path) -> None:
    assert compilations(tmp_path, lookup({"a": "1"})) == 1
    assert compilations(tmp_path, lookup({"a": "2"})) == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.seed("000:18", "000:123")
def test_threads_that_ask_at_the_same_time_compile_once(tmp_path: Path) -> None:
    runtime, wasm = CountingRuntime(), lookup({"x": "y" * 5000})
    modules = CompiledModules(runtime, tmp_path, Log(Level.OFF))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: modules.get(wasm, "plugin demo"), range(32)))
    assert runtime.compiled == 1


@pytest.mark.parametrize("damage", ["truncated", "empty", "the module itself"])
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path) -> None:
    wasm = reactor()
    compilations(tmp_path, wasm)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes({"truncated": whole[:5000], "empty": b"", "the module itself": wasm}[damage])
    assert compilations(tmp_path, wasm) == 1
    assert compilations(tmp_path, wasm) == 0


@pytest.mark.parametrize("who", ["directory", "file", "link", "pipe"])
def test_what_others_could_have_written_is_not_loaded(who: str, tmp_path: Path) -> None:
    directory, wasm, stream = tmp_path / "cache", reactor(), io.StringIO()
    compilations(directory, wasm)
    (file,) = directory.iterdir()
    if who == "directory":
        directory.chmod(0o777)
    elif who == "file":
        file.chmod(0o666)
    elif who == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file)
    assert compilations(directory, wasm, Log(Level.WARNING, stream=stream)) == 1
    assert "a compiled WASM plugin is not used" in stream.getvalue()


def test_without_a_directory_it_is_compiled_in_memory_with_a_warning(tmp_path: Path) -> None:
    stream = io.StringIO()
    assert compilations(None, reactor(), Log(Level.WARNING, stream=stream)) == 1
    assert stream.getvalue().count("injector plugin precompile") == 1


def test_a_directory_that_cannot_be_made_costs_nothing_but_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stream = io.StringIO()
    assert compilations(tmp_path / "file" / "cache", reactor(), Log(Level.WARNING, stream=stream)) == 1
    assert "Not a directory" in stream.getvalue()


def test_precompiling_tells_what_it_did(tmp_path: Path) -> None:
    wasm = reactor()
    modules = CompiledModules(CountingRuntime(), tmp_path, Log(Level.OFF))
    file, compiled = modules.precompile(wasm, "plugin demo")
    assert compiled
    assert file.is_file()
    assert modules.precompile(wasm, "plugin demo") == (file, False)
    assert compilations(tmp_path, wasm) == 0


def test_precompiling_into_a_directory_of_everybodys_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(OutputError, match="would not be used"):
        CompiledModules(CountingRuntime(), tmp_path, Log(Level.OFF)).precompile(reactor(), "plugin demo")


def test_precompiling_without_a_directory_is_an_error() -> None:
    with pytest.raises(OutputError, match="no directory"):
        CompiledModules(CountingRuntime(), None, Log(Level.OFF)).precompile(reactor(), "plugin demo")


def test_what_is_no_module_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    modules = CompiledModules(CountingRuntime(), tmp_path, Log(Level.OFF))
    for junk in (b"", b"(module)", b"\0asm\1\0\0\0\xff", b"\0asm\x0d\0\1\0"):
        with pytest.raises(PluginRefused, match="no WASM module"):
            modules.get(junk, "plugin demo")
    assert list(tmp_path.iterdir()) == []
