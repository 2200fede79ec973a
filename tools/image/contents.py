"""What an image holds in the end: its layers laid one over the other, and its configuration. Compares two of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.image.tree import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KINDS = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "file"}
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class Entry(NamedTuple):
    """`kind` is file, directory, link or another one of tar; `content` a file's SHA-256 or a link's target."""

    kind: str
    mode: int
    owner: str
    size: int
    content: str


class Contents(NamedTuple):
    """`files` by their paths without a slash at the start; `data` gives the bytes of a file."""

    config: dict[str, Any]
    files: dict[str, Entry]
    blobs: dict[str, bytes]

    def data(self, path: str) -> bytes:
        """The bytes of the file at *path*. Raises KeyError when there is none."""
        return self.blobs[self.files[path].content]


def image(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    """
    The configuration of the image in the file *path*, and its layers as tars, from the lowest on.

    Raises:
        BuildError: it is no image archive, or holds several images.
    """
    try:
        with tarfile.open(path) as tar:
            return _image(tar)
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise BuildError(f"{path} is no archive of one image: {error}") from None


def read(path: Path) -> Contents:
    """
    The image in the archive *path*, as a container would see it.

    Raises:
        BuildError: it is no archive of one image.
    """
    return merged(*image(path))


def merged(configuration: dict[str, Any], layers: list[bytes]) -> Contents:
    """The image with *configuration* (the whole of it) and *layers*, tars from the lowest on."""
    found = Contents(configuration.get("config", {}), {}, {})
    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data)) as layer:
            _lay(layer, found)
    return found


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


def _lay(layer: tarfile.TarFile, over: Contents) -> None:
    for member in layer:
        name = member.name.removeprefix("./").rstrip("/")
        folder, _, last = name.rpartition("/")
        if last == _OPAQUE:
            _remove(over.files, folder, itself=False)
        elif last.startswith(_WHITEOUT):
            _remove(over.files, f"{folder}/{last[len(_WHITEOUT) :]}".lstrip("/"), itself=True)
        elif name not in ("", "."):
            over.files[name] = _entry(layer, member, over)


def _remove(files: dict[str, Entry], path: str, *, itself: bool) -> None:
    for name in [name for name in files if name.startswith(f"{path}/") or (itself and name == path)]:
        del files[name]


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo, over: Contents) -> Entry:
    kind, content, size = _KINDS.get(member.type, "other"), "", 0
    if member.isreg() or member.islnk():
        stream = layer.extractfile(member)  # follows a hard link
        data = stream.read() if stream else b""
        kind, size, content = "file", len(data), hashlib.sha256(data).hexdigest()
        over.blobs[content] = data
    elif member.issym():
        content = member.linkname
    # A link has no rights of its own: some tools write 0777, others what the umask was.
    mode = 0 if member.issym() else member.mode & 0o7777
    return Entry(kind, mode, f"{member.uid}:{member.gid}", size, content)


def differences(one: Contents, other: Contents) -> Iterator[str]:
    """What differs between two images: a line for each path and each setting, in sorted order."""
    for path in sorted(one.files.keys() | other.files.keys()):
        first, second = one.files.get(path), other.files.get(path)
        if first is None or second is None:
            yield f"/{path}: only in the {'second' if first is None else 'first'}"
        elif first != second:
            pairs = zip(Entry._fields, _shown(first), _shown(second), strict=True)
            yield f"/{path}: {', '.join(f'{name} {a} and {b}' for name, a, b in pairs if a != b)}"
    mine, theirs = _settings(one.config), _settings(other.config)
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            yield f"config {name}: {mine.get(name)!r} and {theirs.get(name)!r}"


def _shown(entry: Entry) -> tuple[str, ...]:
    return (entry.kind, oct(entry.mode), entry.owner, str(entry.size), entry.content)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    # What is empty is not set: a Containerfile cannot leave out a label whose argument is not given.
    labels = {name: value for name, value in (config.get("Labels") or {}).items() if value}
    return {name: value for name, value in {**config, "Labels": labels}.items() if value}
