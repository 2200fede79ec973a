"""Reads the archive of a base image (`docker save`, or an OCI layout in a tar) and finds the Python in it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, NamedTuple

from tools.image import archive, contents, layout
from tools.image.layout import Python
from tools.image.tree import BuildError

_INTERPRETER = re.compile(r"(usr/(?:local/)?bin)/python(3\.\d+)")
# What the list of contents is made of (`sbom.of_base`), beside the standard library.
_LISTED = re.compile(
    r"(etc|usr/lib)/os-release|var/lib/dpkg/status(\.d/.*)?|.*/(site|dist)-packages/[^/]+\.dist-info/METADATA|"
    r"usr/(local/)?(bin/python3\.\d+|lib/([^/]+/)?libpython3\.\d+\.so\.1\.0)"
)


class Base(NamedTuple):
    """
    `layers` from the lowest on; `config` is the base's own; `python` the newest interpreter that is in it; `inside`
    all of its files.
    """

    layers: list[archive.Layer]
    config: dict[str, Any]
    python: Python
    inside: contents.Contents

    @property
    def has_certificates(self) -> bool:
        """Whether there is a bundle of authorities where the image's variables say."""
        found = self.inside.files.get(layout.CERTIFICATES)
        return found is not None and found.size > 0


def read(path: Path, *, compress: bool) -> Base:
    """
    The base image in the file *path*.

    Raises:
        BuildError: it is no image archive, holds several images, or has no Python in /usr/bin or /usr/local/bin.
    """
    configuration, tars = contents.image(path)
    history = [entry for entry in configuration.get("history", []) if not entry.get("empty_layer")]
    comments = [str(entry.get("created_by", "base")) for entry in history] or ["base"] * len(tars)
    layers = [archive.of_tar(data, comment, compress=compress) for data, comment in zip(tars, comments, strict=True)]
    inside = contents.merged(configuration, tars)
    return Base(layers, inside.config, _python(inside, path), inside)


def unpack(below: Base, into: Path) -> None:
    """Puts the standard library of *below*, and what its list of contents is read from, into the root *into*."""
    stdlib = below.python.stdlib.lstrip("/") + "/"
    for name in below.inside.files:
        if name.startswith(stdlib) or _LISTED.fullmatch(name):
            if ".." in Path(name).parts:
                raise BuildError(f"the base has a path that leaves its root: {name}")
            source = _followed(below.inside, name)
            if source is not None:
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(below.inside.data(source))
                target.chmod(below.inside.files[source].mode | 0o400)


def _followed(inside: contents.Contents, name: str) -> str | None:
    # Debian's standard library has modules that are links; two are one more than was ever seen.
    for _ in range(3):
        entry = inside.files.get(name)
        if entry is None or entry.kind != "link":
            return name if entry is not None and entry.kind == "file" else None
        name = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), entry.content)).lstrip("/")
    return None


def _python(inside: contents.Contents, path: Path) -> Python:
    matches = [match for name in inside.files if (match := _INTERPRETER.fullmatch(name))]
    if not matches:
        raise BuildError(f"{path} has no python3.X in /usr/bin or /usr/local/bin")
    newest = max(matches, key=lambda match: tuple(map(int, match[2].split("."))))
    folder, version = newest[1], newest[2]
    return Python(version, f"/{folder}/python{version}", f"/{Path(folder).parent}/lib/python{version}")
