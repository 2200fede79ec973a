"""
Compiled modules: in memory for this process, and as files for the next one.

Compiling a Go plugin costs seconds of CPU and hundreds of MiB, loading the result a fraction of a millisecond. A file
is found by what it was made of: the SHA-256 of the module, wasmtime's version, our settings of it, and the target. It
is machine code that would be run as it is, so that only files count that nobody but us or root can have written.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.program_file import folder_problem
from injector.backends.wasm import cache_sweep
from injector.errors import OutputError

if TYPE_CHECKING:
    from wasmtime import Module

    from injector.backends.wasm.runtime import Runtime
    from injector.telemetry.logs import Log

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CompiledModules:
    """
    Where compiled modules come from; several threads may ask, and each module is compiled once.

    Args:
        runtime: the engine; its modules in memory are shared by everybody who uses it.
        directory: where the files are, made when it is needed; None for none.
        log: is told of a compilation, and warned when its result cannot be kept.
    """

    def __init__(self, runtime: Runtime, directory: Path | None, log: Log) -> None:
        self._runtime = runtime
        self._directory = directory
        self._log = log

    def get(self, wasm: bytes, name: str) -> Module:
        """
        The compiled module of the bytes *wasm*; *name* is the plugin's for messages.

        Takes as long as compiling does when it is not there yet. Raises PluginRefused, see `Runtime.compile`.
        """
        key = _sha256(wasm)
        with self._runtime.lock_for(key):
            module = self._runtime.modules.get(key)
            if module is None:
                module = self._runtime.modules[key] = self._from_file(key) or self._compiled(wasm, key, name)
        return module

    def precompile(self, wasm: bytes, name: str) -> tuple[Path, bool]:
        """
        Makes sure that the compiled module is there as a file: its path, and whether it had to be compiled.

        Raises PluginRefused as `Runtime.compile` does, OutputError when it cannot be kept.
        """
        if self._directory is None:
            raise OutputError(
                "there is no directory for compiled WASM plugins",
                hint="set plugins.wasmCache (INJECTOR_PLUGIN_WASM_CACHE), or HOME",
            )
        key = _sha256(wasm)
        path = self._path(key)
        if self._from_file(key) is not None:
            return path, False
        module = self._runtime.compile(wasm, name)
        try:
            self._write(key, module)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror or error}", hint="plugins.wasmCache names another directory"
            ) from None
        problem = self._problem(path)
        if problem:
            raise OutputError(f"{path} would not be used: it {problem}", hint="choose a directory of your own")
        return path, True

    def _path(self, key: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{key}-{self._runtime.fingerprint}.cwasm"

    def _from_file(self, key: str) -> Module | None:
        if self._directory is None:
            return None
        path = self._path(key)
        problem = self._problem(path)
        if problem:
            if problem != _NOT_THERE:
                self._log.warning("a compiled WASM plugin is not used", file=path, reason=problem)
            return None
        module = self._runtime.load(str(path))
        if module is None:
            self._log.info("a compiled WASM plugin does not fit, and is made anew", file=path)
        else:
            cache_sweep.used(path)
        return module

    def _problem(self, path: Path) -> str:
        """Why the file is not to be trusted; empty when it is."""
        try:
            reason, _ = folder_problem(path.parent)
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return _NOT_THERE
        except OSError as error:
            return f"cannot be looked at: {error.strerror}"
        if reason:
            return reason
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        if status.st_mode & _WRITABLE_BY_OTHERS or status.st_uid not in (0, os.geteuid()):
            return "may be written by others"
        return ""

    def _compiled(self, wasm: bytes, key: str, name: str) -> Module:
        began = time.monotonic()
        module = self._runtime.compile(wasm, name)
        reason = "there is no directory for it"
        if self._directory is not None:
            try:
                self._write(key, module)
            except OSError as error:
                reason = f"{self._directory}: {error.strerror or error}"
            else:
                reason = self._problem(self._path(key))
        seconds = round(time.monotonic() - began, 2)
        self._log.info("compiled a WASM plugin", plugin=name, seconds=seconds)
        if reason:
            self._log.warning(
                "a compiled WASM plugin cannot be kept, and is compiled at every start",
                plugin=name,
                seconds=seconds,
                reason=reason,
                hint="run `injector plugin precompile` when the image is built, with plugins.wasmCache",
            )
        return module

    def _write(self, key: str, module: Module) -> None:
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = module.serialize()
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".cwasm", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)  # the directory keeps others out; an image's may be root's and readable
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        removed = cache_sweep.sweep(path.parent, self._runtime.fingerprint)
        if removed:
            self._log.info("removed compiled WASM plugins that were not used", files=removed, directory=path.parent)


_NOT_THERE = "is not there"


def _sha256(wasm: bytes) -> str:
    from hashlib import sha256  # late: start-up

    return sha256(wasm).hexdigest()
