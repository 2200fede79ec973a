"""
The single file: a shebang line and a zip archive, which Python runs (PEP 441).

It holds the plugin's package, the SDK, and what a requirements file adds, as sources and as bytecode. zipimport looks
for `x.pyc` before `x.py`, and takes the source when the bytecode is another version's, so the file runs on every
Python from 3.11 on and starts fastest on the one that it was built for. gRPC and protobuf hold machine code, which
cannot be imported from an archive: the interpreter must have them, and the file says so when it has not.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import os
import re
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from injector.errors import OutputError, PluginSourceInvalid
from injector.sdk.building.bytecode import OLDEST_PYTHON, compile_sources
from injector.sdk.building.dependencies import install
from injector.sdk.building.source import find_source, read_tree
from injector.sdk.handshake import go_platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.sdk.building.source import PluginSource

DEFAULT_PYTHON = "/usr/bin/env python3"

_NOT_AT_RUN_TIME = ("injector/sdk/testing/", "injector/sdk/building/", "injector/sdk/scaffold/")
_PARTS = ("_proto", "sdk", "wire")  # of the package `injector`, beside its root and errors.py
_PROTOBUF_VERSION = re.compile(rb"^# Protobuf Python Version: ([0-9.]+)$", re.MULTILINE)
_LONGEST_SHEBANG = 127  # bytes with "#!": what Linux took before 5.1, and others take
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


class BuiltPlugin(NamedTuple):
    """
    The file that was made.

    `size` is in bytes, `sha256` in hexadecimal; `bytecode` is the Python version that starts fastest; `needs` is what
    the interpreter `python` must have.
    """

    path: Path
    prefix: str
    size: int
    sha256: str
    bytecode: str
    python: str
    needs: tuple[str, ...]


def build(
    source: Path,
    *,
    output: Path | None = None,
    prefix: str | None = None,
    python: str = DEFAULT_PYTHON,
    requirement: Path | None = None,
    with_dependencies: bool = True,
) -> BuiltPlugin:
    """
    Makes the file; the same input gives the same bytes.

    Args:
        source: a project, a package or a file, see `find_source`.
        output: the file; `<prefix>-<os>-<arch>` in the current directory by default.
        prefix: of the tokens, in lower case; taken from *source* by default.
        python: the interpreter for the first line, with at most one argument.
        requirement: a requirements file of what is to be put inside as well.
        with_dependencies: False when the project's dependencies are not put inside although it has some.

    Raises:
        PluginSourceInvalid: *source* is no plugin, has dependencies and nothing is said about them, or *python* cannot
            stand in a first line.
        PluginBuildFailed: pip or the compiler failed.
        OutputError: the file cannot be written; what was there before is untouched.
    """
    shebang = _shebang(python)
    plugin = find_source(source, prefix=prefix)
    if plugin.dependencies and requirement is None and with_dependencies:
        raise PluginSourceInvalid(
            f"the project needs {', '.join(plugin.dependencies)}, which would not be in the file",
            hint="--requirement FILE puts inside what a requirements file names; --no-deps leaves it to --python",
        )
    sdk = _sdk()
    protobuf = _oldest_protobuf(sdk)
    brought = install(requirement) if requirement is not None else {}
    files = {**brought, **sdk, **plugin.files, "__main__.py": _bootstrap(plugin.module, protobuf)}
    compiled = compile_sources({name: data for name, data in files.items() if name.endswith(".py")}, python=python)
    _refuse_broken(plugin, compiled.failed)
    data = archive({**files, **compiled.files}, first_line=shebang)
    path = output or Path(f"{plugin.prefix}-{go_platform()}")
    _write(path, data)
    needs = ["grpcio", f"protobuf>={protobuf}", "cryptography"]
    if requirement is None:
        needs += plugin.dependencies
    return BuiltPlugin(
        path=path,
        prefix=plugin.prefix,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        bytecode=".".join(map(str, compiled.version)),
        python=python,
        needs=tuple(needs),
    )


def archive(files: Mapping[str, bytes], *, first_line: bytes) -> bytes:
    """A zip archive of *files* behind *first_line*, whose bytes depend on names and contents only."""
    buffer = io.BytesIO()
    buffer.write(first_line)
    with zipfile.ZipFile(buffer, "a") as target:  # "a": places in it count from the file's beginning
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also elsewhere
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(entry, files[name], compresslevel=9)
    return buffer.getvalue()


def _sdk() -> dict[str, bytes]:
    root = Path(str(importlib.resources.files("injector")))
    files = {f"injector/{name}": (root / name).read_bytes() for name in ("__init__.py", "errors.py")}
    for part in _PARTS:
        files |= read_tree(root.parent, root / part)
    sources = {name: data for name, data in files.items() if name.endswith(".py")}
    return {name: data for name, data in sources.items() if not name.startswith(_NOT_AT_RUN_TIME)}


def _oldest_protobuf(sdk: Mapping[str, bytes]) -> str:
    # Generated code refuses a runtime that is older than its generator.
    found = _PROTOBUF_VERSION.search(sdk["injector/_proto/tokenstore/v1/token_store_pb2.py"])
    assert found is not None  # a test holds it
    return found[1].decode()


def _bootstrap(module: str, protobuf: str) -> bytes:
    text = importlib.resources.files("injector.sdk.building").joinpath("bootstrap.py.in").read_text("utf-8")
    for name, value in (("@module@", module), ("@python@", OLDEST_PYTHON), ("@protobuf@", protobuf)):
        text = text.replace(name, repr(value))
    return text.encode()


def _shebang(python: str) -> bytes:
    line = f"#!{python}\n".encode()
    problem = ""
    if not python.startswith("/") or "\n" in python:
        problem = "is not an absolute path"
    elif len(python.split()) > 2:
        problem = "has more than one argument, which systems pass on as a single one"
    elif len(line) > _LONGEST_SHEBANG:
        problem = f"is longer than the {_LONGEST_SHEBANG} bytes that every system takes"
    if problem:
        raise PluginSourceInvalid(f"--python {python!r} {problem}", hint="such as /usr/bin/env python3")
    return line


def _refuse_broken(plugin: PluginSource, failed: Mapping[str, int | None]) -> None:
    # A dependency may ship files that no Python of today can read, and never import them.
    for name, line in failed.items():
        if name in plugin.files:
            raise PluginSourceInvalid(f"{plugin.root / name}{f':{line}' if line else ''} is no valid Python")


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
        os.chmod(temporary, 0o755)  # noqa: PTH101, S103 - hosts refuse what others than its owner may write
        os.replace(temporary, path)  # noqa: PTH105 - not a Path
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
