"""Reads the archive of a base image (`docker save`, or an OCI layout in a tar) and finds the Python in it."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from tools.image import archive
from tools.image.layout import Python
from tools.image.tree import BuildError

_INTERPRETER = re.compile(r"(?:\./)?(usr/(?:local/)?bin)/python(3\.\d+)")


class Base(NamedTuple):
    """`layers` from the lowest on; `config` is the base's own; `python` the newest interpreter that is in it."""

    layers: list[archive.Layer]
    config: dict[str, Any]
    python: Python


def read(path: Path, *, compress: bool) -> Base:
    """
    The base image in the file *path*.

    Raises:
        BuildError: it is no image archive, holds several images, or has no Python in /usr/bin or /usr/local/bin.
    """
    try:
        with tarfile.open(path) as tar:
            config, tars = _image(tar)
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise BuildError(f"{path} is no archive of one image: {error}") from None
    history = [entry for entry in config.get("history", []) if not entry.get("empty_layer")]
    comments = [str(entry.get("created_by", "base")) for entry in history] or ["base"] * len(tars)
    layers = [archive.of_tar(data, comment, compress=compress) for data, comment in zip(tars, comments, strict=True)]
    return Base(layers, config.get("config", {}), _python(tars, path))


def unpack_stdlib(path: Path, python: Python, into: Path) -> Path:
    """The standard library of the base in *path*, unpacked below *into*; gives its directory."""
    wanted = python.stdlib.lstrip("/") + "/"
    with tarfile.open(path) as tar:
        for data in _image(tar)[1]:
            with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                members = [member for member in layer if member.name.removeprefix("./").startswith(wanted)]
                layer.extractall(
                    into, [member for member in members if member.isreg() or member.isdir()], filter="data"
                )
    return into / python.stdlib.lstrip("/")


def _image(tar: tarfile.TarFile) -> tuple[dict[str, Any], list[bytes]]:
    names = tar.getnames()
    if "manifest.json" in names:
        (entry,) = json.loads(_bytes(tar, "manifest.json"))
        return json.loads(_bytes(tar, entry["Config"])), [_plain(_bytes(tar, name)) for name in entry["Layers"]]
    (descriptor,) = json.loads(_bytes(tar, "index.json"))["manifests"]
    manifest = json.loads(_bytes(tar, _blob(descriptor)))
    return (
        json.loads(_bytes(tar, _blob(manifest["config"]))),
        [_plain(_bytes(tar, _blob(layer))) for layer in manifest["layers"]],
    )


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is no file")
    return stream.read()


def _blob(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _plain(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _python(tars: list[bytes], path: Path) -> Python:
    found: set[tuple[tuple[int, ...], str, str]] = set()
    for data in tars:
        with tarfile.open(fileobj=io.BytesIO(data)) as layer:
            for name in layer.getnames():
                if match := _INTERPRETER.fullmatch(name):
                    found.add((tuple(map(int, match[2].split("."))), match[2], match[1]))
    if not found:
        raise BuildError(f"{path} has no python3.X in /usr/bin or /usr/local/bin")
    _, version, folder = max(found)
    return Python(version, f"/{folder}/python{version}", f"/{Path(folder).parent}/lib/python{version}")
