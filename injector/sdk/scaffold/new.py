"""Writes the files of a new project."""

from __future__ import annotations

import importlib.resources
import keyword
import re
from typing import TYPE_CHECKING

from injector import __version__
from injector.errors import OutputError, PluginSourceInvalid, ProjectExists

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIX = ".in"  # keeps tools from taking the files for parts of this package
_PLACEHOLDER = re.compile(r"@([A-Za-z]+)@")


def new_project(name: str, directory: Path) -> tuple[str, ...]:
    """
    Writes a plugin's project for tokens `NAME://…` into *directory*, which is made.

    Gives the names of its files, below *directory*, in order.

    Raises:
        PluginSourceInvalid: *name* cannot be a prefix.
        ProjectExists: *directory* has something in it. Nothing was written.
        OutputError: it cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginSourceInvalid(
            f"{name!r} cannot be the name of a plugin", hint="lower-case letters, digits and _, a letter first"
        )
    files = project_files(name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ProjectExists(f"{directory} is not empty, and nothing was written", hint="give another directory")
        for file, text in files.items():
            path = directory / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror}") from None
    return tuple(files)


def project_files(name: str) -> dict[str, str]:
    """The project's files by name, with the placeholders filled in."""
    words = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "package": f"injector_{name}",
        "PREFIX": name.upper(),
        "version": __version__,
    }
    files = {}
    for path, template in _templates(importlib.resources.files("injector.sdk.scaffold") / "project", ""):
        file = path.removesuffix(_SUFFIX).replace("PACKAGE", words["package"]).replace("dot-", ".")
        files[file] = _PLACEHOLDER.sub(lambda found: words[found[1]], template.read_text("utf-8"))
    return dict(sorted(files.items()))


def _templates(directory: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield f"{path}{entry.name}", entry
