"""Compiles sources with the interpreter that will run them, to the same bytes every time."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from injector.errors import PluginBuildFailed, PluginSourceInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST_PYTHON = (3, 11)

# Unchecked hashes (PEP 552): a source's time means nothing inside a file, and its hash is not looked at either.
_COMPILER = """
import sys
sys.path[:] = [path for path in sys.path if path]  # a source may have the name of a standard module
import json, py_compile
failed = {}
for name in sys.stdin.read().splitlines():
    try:
        py_compile.compile(
            name, cfile=name + "c", dfile=name, doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError as error:
        failed[name] = getattr(error.exc_value, "lineno", None)
json.dump({"version": sys.version_info[:2], "failed": failed}, sys.stdout)
"""


class Bytecode(NamedTuple):
    """`files` are `*.pyc` by name; `failed` are the sources that are no Python for `version`, with the line."""

    version: tuple[int, int]
    files: dict[str, bytes]
    failed: dict[str, int | None]


def compile_sources(sources: Mapping[str, bytes], *, python: str) -> Bytecode:
    """
    Bytecode of *sources* for the interpreter of a shebang, or for this one when that cannot be run here.

    A process of its own with a fixed hash seed compiles: what marshal writes depends on all that was loaded before.
    PluginSourceInvalid when the interpreter is too old for the SDK.
    """
    with tempfile.TemporaryDirectory(prefix="plugin-build-") as directory:
        root = Path(directory)
        for name, data in sources.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        report = _run(_interpreter(python), root, sorted(sources))
        major, minor = report["version"]
        files = {f"{name}c": (root / f"{name}c").read_bytes() for name in sources if name not in report["failed"]}
    if (major, minor) < OLDEST_PYTHON:
        raise PluginSourceInvalid(
            f"{python} is Python {major}.{minor}: too old for the SDK", hint="give Python 3.11 or newer"
        )
    return Bytecode((major, minor), files, report["failed"])


def _interpreter(python: str) -> list[str]:
    command = shlex.split(python)
    return command if os.access(command[0], os.X_OK) else [sys.executable]


def _run(interpreter: list[str], root: Path, names: list[str]) -> dict[str, Any]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the author names
            [*interpreter, "-S", "-s", "-B", "-c", _COMPILER],
            input="\n".join(names),
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        raise PluginBuildFailed(
            f"{' '.join(interpreter)} does not compile Python", hint="give a Python interpreter with --python"
        ) from None
    return report
